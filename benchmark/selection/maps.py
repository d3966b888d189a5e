"""Images, stored maps and their consensus at the size at which evidence is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import Sample
from datasets.files.decoding import opened_whole, rgb
from methods.artifacts import Cam, label_map_path

SIDE = 128
"""Longest side at which evidence is taken, pixels: areas, borders and colours of regions need no more."""


def picture(path: Path, side: int = SIDE) -> np.ndarray:
    """(h, w, 3) float32 in [0, 1] of an image, reduced so that its longest side is at most `side`."""
    pixels = rgb(path)
    scaled = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    height, width = pixels.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return scaled
    size = max(1, round(width * side / longest)), max(1, round(height * side / longest))
    channels = [Image.fromarray(scaled[..., c]).resize(size, Image.Resampling.BOX) for c in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], -1)


def cam_maps(cam: Cam, classes: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(K, h, w) float32 in [0, 1]: a CAM's maps of the given classes; 0 for a class that it has none of."""
    maps = np.zeros((len(classes), *size), np.float32)
    for place, each in enumerate(classes):
        if each in cam.classes:
            small = Image.fromarray(cam.maps[cam.classes.index(each)].astype(np.float32))
            maps[place] = np.asarray(small.resize(size[::-1], Image.Resampling.BILINEAR))
    return maps


def cam_labels(maps: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """(T, h, w) uint8, k + 1 where map k of (K, h, w) is the highest and above a threshold, 0 elsewhere."""
    score, winner = maps.max(0), (maps.argmax(0) + 1).astype(np.uint8)
    above = score > np.asarray(thresholds, np.float32)[:, None, None]
    return np.where(above, winner, np.uint8(0))


def stored_labels(folder: Path, sample: Sample, size: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8 of a stored label map: k + 1 for class k of the sample's labels, K + 1 for other classes.

    255 counts as background, as in the scores. Raises DataError for a file that is missing or damaged.
    """
    with opened_whole(label_map_path(folder, sample.id)) as image:
        values = np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST))
    places = np.full(256, len(sample.labels) + 1, np.uint8)
    places[[0, 255]] = 0
    places[[each + 1 for each in sample.labels]] = np.arange(1, len(sample.labels) + 1)
    return places[values]


def votes(labels: np.ndarray, classes: int) -> np.ndarray:
    """(K, h, w) float32, 1 where a label map (h, w) has class k."""
    return (labels == np.arange(1, classes + 1)[:, None, None]).astype(np.float32)


def consensus(given: Sequence[np.ndarray]) -> np.ndarray:
    """(h, w) uint8: what the mean of votes (K, h, w) in [0, 1] has, cut from the background by Otsu's threshold.

    The cut follows the image, not the maps that are judged: at threshold 0 all maps agree with each other.
    """
    mean = np.mean(np.stack(given), 0)
    return cam_labels(mean, [otsu(mean.max(0))])[0]


def otsu(values: np.ndarray, bins: int = 64) -> float:
    """The threshold that parts values in [0, 1] into two groups whose means lie furthest apart (Otsu's)."""
    counts, edges = np.histogram(values, bins, (0, 1))
    below = np.cumsum(counts)[:-1].astype(float)
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    apart = (sums[-1] * below - counts.sum() * sums[:-1]) ** 2
    size = below * (counts.sum() - below)
    return float(edges[1:-1][np.argmax(np.divide(apart, size, out=np.zeros_like(apart), where=size > 0))])
