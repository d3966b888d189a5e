"""Evidence of one image: how far label maps agree with others, with colours and edges, and how whole their regions are.

All of it follows from the image, its labels and stored maps; none needs a mask.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

IN_PLANE = np.array([np.zeros((3, 3)), [[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.zeros((3, 3))])
"""Neighbours within one of several label maps that are stacked."""


def region_evidence(labels: np.ndarray, reference: np.ndarray | None, classes: int) -> dict[str, np.ndarray]:
    """Evidence of each class, (T, K + 1) float32 with the background first; NaN where there is none.

    labels: (T, h, w) uint8, 0 background, k for present class k of 1..K, K + 1 for any other
    reference: (h, w) as labels, the consensus of the others; None where nobody else has voted
    agreement: intersection over union with the consensus, where either has the class
    found:     1 where the class has a pixel, else 0
    log_area, log_expected: log2 of the class's share of the image, at least one pixel, and of the consensus's
    pieces:    number of connected regions, where there is one
    """
    pixels = labels[0].size
    shape = (len(labels), classes + 1)
    found = {name: np.full(shape, np.nan, np.float32)
             for name in ("agreement", "found", "log_area", "log_expected", "pieces")}  # fmt: skip
    for k in range(classes + 1):
        own = labels == k
        area = own.sum((1, 2))
        if reference is not None:
            other = reference == k
            both = (own & other).sum((1, 2))
            union = area + other.sum() - both
            found["agreement"][:, k] = np.divide(
                both, union, out=np.full(len(labels), np.nan), where=union > 0
            )
        if k == 0:
            continue
        found["found"][:, k] = area > 0
        found["log_area"][:, k] = np.log2(np.maximum(area, 1) / pixels)
        if reference is not None:
            found["log_expected"][:, k] = np.log2(max(int(other.sum()), 1) / pixels)
        regions = ndimage.label(own, IN_PLANE)[0].reshape(len(labels), -1).max(1)
        # regions are numbered through all planes
        count = np.diff(np.maximum.accumulate(regions), prepend=0)
        found["pieces"][:, k] = np.where(area > 0, count, np.nan)
    return found


def image_evidence(labels: np.ndarray, pixels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Evidence of the whole image, (T,) float32.

    labels: as in `region_evidence`; pixels: (h, w, 3) float32
    colour: share of the colours' variance that lies between the label map's regions, in [0, 1]
    edge:   mean gradient of the colours on the regions' borders over that of the image; 0 without a border
    within: share of the foreground that is of the image's labels; 1 without foreground
    """
    flat = pixels.reshape(-1, 3).astype(np.float64)
    mean = flat.mean(0)
    total = float(((flat - mean) ** 2).sum())
    planes = labels.reshape(len(labels), -1)
    between = np.zeros(len(labels))
    for k in range(classes + 2):
        own = planes == k
        size = own.sum(1)
        sums = own.astype(np.float64) @ (flat - mean)
        between += (sums**2).sum(1) / np.maximum(size, 1)
    foreground = (planes > 0).sum(1)
    outside = (planes > classes).sum(1)
    return {
        "colour": (between / total if total else between).astype(np.float32),
        "edge": _edge(labels, pixels).astype(np.float32),
        "within": (1 - outside / np.maximum(foreground, 1)).astype(np.float32),
    }


def _edge(labels: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    gradient = np.sqrt(sum((ndimage.sobel(pixels, axis) ** 2).sum(-1) for axis in (0, 1)))
    border = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1]
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[:, :, 1:] |= down
    border[:, :, :-1] |= down
    count, mean = border.sum((1, 2)), float(gradient.mean())
    on_border = (gradient * border).sum((1, 2)) / np.maximum(count, 1)
    return on_border / mean if mean else np.zeros(len(labels))


def entropy(maps: np.ndarray) -> float:
    """Mean entropy of the highest of maps (K, h, w) in [0, 1], as a probability of foreground; bits."""
    p = np.clip(maps.max(0), 1e-6, 1 - 1e-6)
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean())
