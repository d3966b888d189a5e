"""Class-agnostic boundary recall, precision and F1 of label maps (EPS, Tab. 1, after BES).

A boundary pixel is one whose label differs from that of one of its four neighbours. The Laplacian of the label map is
not 0 there, unless differences between ids cancel. The pixel is found if a boundary pixel of the other map lies within
a radius, a fraction of the image's diagonal (.0075 is SBD's) and never less than a pixel. Counts are summed over images
before they are divided, as those of the mIoU are.

The rim of 255 that VOC draws around objects hides where the boundary is. A pixel of 255 within the radius of a scored
one therefore takes the label of the nearest scored pixel, which puts the boundary into the middle of the rim; what
lies deeper in 255 has no boundaries, in the truth or in the prediction.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from datasets.base import IGNORE

TOLERANCE = 0.0075
"""Radius as a fraction of the image's diagonal: SBD's, and that of the Berkeley benchmark before it."""

_GATHERED = 1 << 15
"""Neighbours looked at in one operation. It bounds memory where pixels are many, and saves passes where they are few."""


def boundary_counts(
    ground_truth: np.ndarray, prediction: np.ndarray, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Boundary pixels of each image of a batch, and how many of them the other map has too.

    ground_truth: (N, H, W) uint8, 255 where not scored; prediction: (N, H, W) uint8, 255 counts as background
    tolerance:    radius as a fraction of the diagonal, in (0, 1)
    returns:      (N, 4) int64: the truth's boundary pixels that are found, and all of the truth's; the prediction's
                  that are right, and all of the prediction's
    """
    radius = max(1.0, tolerance * math.hypot(*ground_truth.shape[-2:]))
    truth = fill_rims(ground_truth, radius)
    known = truth != IGNORE
    true = boundaries(truth, known)
    predicted = boundaries(np.where(prediction == IGNORE, np.uint8(0), prediction), known)
    columns = []
    for pixels, others in ((true, predicted), (predicted, true)):
        total = np.count_nonzero(pixels, axis=(-2, -1))
        columns += [total - _unmatched(pixels, others, radius), total]
    return np.stack(columns, axis=-1)


def boundary_scores(counts: np.ndarray) -> tuple[float, float, float]:
    """Recall, precision and F1 of summed counts (4,).

    Recall is NaN where there is nothing to find, precision where nothing was drawn, F1 where both.
    """
    found, true, right, predicted = (float(count) for count in counts)
    recall = found / true if true else math.nan
    precision = right / predicted if predicted else math.nan
    if not true and not predicted:
        return recall, precision, math.nan
    f1 = 2 * recall * precision / (recall + precision) if found and right else 0.0
    return recall, precision, f1


def boundaries(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Boundary pixels of label maps, (..., H, W) bool; only two known neighbours make one.

    labels: (..., H, W); known: (..., H, W) bool
    """
    found = np.zeros(labels.shape, np.bool_)
    for first, second in (
        (np.s_[..., :-1, :], np.s_[..., 1:, :]),
        (np.s_[..., :, :-1], np.s_[..., :, 1:]),
    ):
        differs = (labels[first] != labels[second]) & known[first] & known[second]
        found[first] |= differs
        found[second] |= differs
    return found


def fill_rims(labels: np.ndarray, radius: float) -> np.ndarray:
    """Label maps (N, H, W) uint8 whose pixels of 255 within the radius of others take the label of the nearest.

    Of equally near ones the upper, then the left one is taken. The others stay 255.
    """
    place = _places(labels == IGNORE, radius)
    if not len(place):
        return labels
    padded = _padded(labels, IGNORE, radius)
    source, target = padded.reshape(-1), padded.copy().reshape(-1)
    steps = _steps(radius, padded.shape[-1])
    while len(place) and len(steps):
        now, steps = np.split(steps, [max(1, _GATHERED // len(place))])
        found = source.take(place[:, None] + now)
        nearest = (found != IGNORE).argmax(1)[:, None]
        target[place] = np.take_along_axis(found, nearest, 1)[:, 0]
        place = place[target[place] == IGNORE]
    reach = int(radius)
    return target.reshape(padded.shape)[:, reach:-reach, reach:-reach]


def _unmatched(pixels: np.ndarray, others: np.ndarray, radius: float) -> np.ndarray:
    """How many of the set pixels of each image have none of the others within the radius.

    pixels, others: (N, H, W) bool; returns (N,) int64
    """
    padded, place = _padded(others, False, radius), _places(pixels, radius)
    source, steps = padded.reshape(-1), _steps(radius, padded.shape[-1])
    while len(place) and len(steps):
        now, steps = np.split(steps, [max(1, _GATHERED // len(place))])
        place = place[~source.take(place[:, None] + now).any(1)]
    return np.bincount(place // (padded.shape[-2] * padded.shape[-1]), minlength=len(pixels))


def _padded(maps: np.ndarray, value: int, radius: float) -> np.ndarray:
    """Maps (N, H, W) in a frame as wide as the radius, so that steps of `_steps` do not leave an image."""
    reach = int(radius)
    return np.pad(maps, ((0, 0), (reach, reach), (reach, reach)), constant_values=value)


def _places(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Where the set pixels of (N, H, W) bool lie in the flattened `_padded`."""
    reach = int(radius)
    _, height, width = pixels.shape
    rest, x = np.divmod(np.flatnonzero(pixels), width)
    image, y = np.divmod(rest, height)
    return (image * (height + 2 * reach) + y + reach) * (width + 2 * reach) + x + reach


@lru_cache
def _steps(radius: float, row: int) -> np.ndarray:
    """Steps in a flattened map with rows of `row` pixels to all pixels within the radius, the nearest first."""
    reach = range(-int(radius), int(radius) + 1)
    near = [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius * radius]
    near.sort(key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))
    return np.array([dy * row + dx for dy, dx in near])
