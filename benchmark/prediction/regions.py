"""What a label map says of a part: its regions, measured, and whether it is OK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmark.evaluation.inspection.foreground import OK, highest

_TOUCHING = np.ones((3, 3), bool)
"""Pixels of a region touch by sides or corners."""


@dataclass(frozen=True)
class Region:
    """Connected pixels of one class.

    box:      left, top, width, height, pixels
    area:     pixels
    score:    mean probability of the class over the region, [0, 1]; None where the network's stage reports none
    centroid: (x, y), pixels from the centre of the image's first one
    """

    name: str
    box: tuple[int, int, int, int]
    area: int
    score: float | None
    centroid: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """Of one image.

    name:  `OK`, or the class of which most pixels are in regions
    score: highest probability of any class at any pixel, [0, 1], however it was decided; None as a region's. The
           score `max` of a run's verdicts is the same
    """

    name: str
    score: float | None


def find_regions(
    labels: NDArray[np.uint8], scores: NDArray[np.float32] | None, classes: Sequence[str], min_area: int = 1
) -> list[Region]:
    """Regions of at least `min_area` pixels, the largest first.

    labels: (H, W), 0 background, i + 1 class i, others no class; scores: (C, h, w) in [0, 1], stretched to the labels
    """
    found = []
    for value, name in enumerate(classes, 1):
        numbers, count = ndimage.label(labels == value, _TOUCHING)
        if not count:
            continue
        y, x = np.nonzero(numbers)
        of = numbers[y, x]
        areas = np.bincount(of, minlength=count + 1)
        sums = [np.bincount(of, along, count + 1) for along in (x, y)]
        if scores is not None:
            sums.append(np.bincount(of, stretched(scores[value - 1], labels.shape)[y, x], count + 1))
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
            if (area := int(areas[number])) < min_area:
                continue
            means = [float(each[number] / area) for each in sums]
            size = (columns.stop - columns.start, rows.stop - rows.start)
            score = means[2] if scores is not None else None
            found.append(Region(name, (columns.start, rows.start, *size), area, score, (means[0], means[1])))
    return sorted(found, key=lambda region: -region.area)


def verdict(regions: Sequence[Region], scores: NDArray[np.float32] | None) -> Verdict:
    """Of an image with these regions; scores as in `find_regions`."""
    areas: dict[str, int] = {}
    for region in regions:
        areas[region.name] = areas.get(region.name, 0) + region.area
    score = None if scores is None else float(highest(scores[None].max(1, initial=0))[0])
    return Verdict(max(areas, key=lambda name: areas[name]) if areas else OK, score)


def stretched(scores: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w) at `size` (H, W), bilinear."""
    if scores.shape == size:
        return scores
    return np.asarray(Image.fromarray(scores).resize(size[::-1], Image.Resampling.BILINEAR))
