"""Defects one by one: which connected regions of the truth are found, and what is marked on good parts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.inspection.aupro import regions
from datasets.base import IGNORE

FOUND = 0.1
"""Share of a defect's pixels that have to be marked, as a defect of whichever class, for it to be found."""
SIZES = ("small", "medium", "large")
SIZE_LIMITS = (0.001, 0.01)
"""A defect is medium, or large, from these shares of its image's pixels on."""


class Defects(NamedTuple):
    """The regions of a batch's truth, each of one class.

    class_id: (R,) from 1; size: (R,) share of the image's pixels; marked: (R,) share of its pixels that are marked
    """

    class_id: NDArray[np.intp]
    size: NDArray[np.float64]
    marked: NDArray[np.float64]

    @property
    def found(self) -> NDArray[np.bool_]:
        return self.marked >= FOUND


def defects_in(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> Defects:
    """Both (N, H, W): 0 background, 1..classes, 255, which is no defect in either."""
    marked = (prediction != 0) & (prediction != IGNORE)
    pixels = truth[0].size if len(truth) else 1
    found = []
    for class_id in np.flatnonzero(np.bincount(truth.ravel(), minlength=256)[1 : classes + 1]) + 1:
        numbers, count = regions(truth == class_id)
        inside = numbers > 0
        of = numbers[inside] - 1
        areas = np.bincount(of, minlength=count)
        hits = np.bincount(of, marked[inside], count)
        found.append((np.full(count, class_id, np.intp), areas / pixels, hits / areas))
    if not found:
        return Defects(np.zeros(0, np.intp), np.zeros(0), np.zeros(0))
    return Defects(*(np.concatenate(columns) for columns in zip(*found)))


def regions_marked(prediction: NDArray[np.uint8], classes: int) -> int:
    """How many regions of one class each are marked in a batch (N, H, W); 255 is none."""
    present = np.flatnonzero(np.bincount(prediction.ravel(), minlength=256)[1 : classes + 1]) + 1
    return sum(regions(prediction == class_id)[1] for class_id in present)


def size_of(share: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index into `SIZES` of shares of an image's pixels."""
    return np.searchsorted(SIZE_LIMITS, share, side="right")
