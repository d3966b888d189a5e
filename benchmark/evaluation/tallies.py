"""Sums over images beyond the confusion matrix: boundaries, subsets by object size and number of classes, coverage.

A tally has a fixed size however many images are added; tallies of shards add up to that of all images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmark.evaluation.boundary import boundary_scores
from benchmark.evaluation.confusion import merge_context
from benchmark.evaluation.scores import MetricRow

SIZES = ("small", "medium", "large")
SIZE_LIMITS = (0.1, 0.25)
"""The region of a class in an image is medium, or large, from these shares of the image's scored pixels on."""

CLASS_COUNTS = ("0", "1", "2", "3+")
"""Numbers of object classes in an image's ground truth."""


class Tally:
    """What the pass over label maps adds up for the metrics that the confusion matrix does not give.

    boundary: (4,) sums of `boundary_counts`
    by_size:  (3, C + 1, 3) by size and class: pixels of intersection, ground truth and prediction, over the images in
              which the class has a region of that size; `size_images` (3,): images that have any region of the size
    by_count: (4, C + 1, 3) the same by number of object classes in the image, and class; `count_images` (4,)
    """

    def __init__(self, classes: int) -> None:
        """classes: C, without the background"""
        self.classes = classes
        self.boundary = np.zeros(4, np.int64)
        self.by_size = np.zeros((len(SIZES), classes + 1, 3), np.int64)
        self.size_images = np.zeros(len(SIZES), np.int64)
        self.by_count = np.zeros((len(CLASS_COUNTS), classes + 1, 3), np.int64)
        self.count_images = np.zeros(len(CLASS_COUNTS), np.int64)

    def add(self, matrix: np.ndarray, boundary: np.ndarray) -> None:
        """Add one image: its extended confusion matrix (C + 1 + J, C + 1) and its `boundary_counts` (4,)."""
        self.boundary += boundary
        matrix = merge_context(matrix, self.classes)
        sums = np.stack([matrix.diagonal(), matrix.sum(1), matrix.sum(0)], axis=1)
        truth = sums[:, 1]
        present = np.flatnonzero(truth[1:]) + 1
        count = min(len(present), len(CLASS_COUNTS) - 1)
        self.by_count[count] += sums
        self.count_images[count] += bool(truth.sum())
        if len(present):
            size = np.searchsorted(SIZE_LIMITS, truth[present] / truth.sum(), side="right")
            self.by_size[size, present] += sums[present]  # no pair occurs twice
            self.size_images[np.unique(size)] += 1

    def __iadd__(self, other: Tally) -> Tally:
        for name in ("boundary", "by_size", "size_images", "by_count", "count_images"):
            getattr(self, name).__iadd__(getattr(other, name))
        return self

    def rows(self, row: Callable[..., MetricRow]) -> Iterator[MetricRow]:
        """All its scores, without those of subsets that have no images; row: makes one, as in `metric_rows`."""
        for metric, value in zip(("recall", "precision", "f1"), boundary_scores(self.boundary)):
            yield row(f"boundary_{metric}", value)
        yield from _subset_rows("miou_by_size", SIZES, self.by_size, self.size_images, row)
        yield from _subset_rows("miou_by_class_count", CLASS_COUNTS, self.by_count, self.count_images, row)


def _subset_rows(
    metric: str, names: Sequence[str], sums: np.ndarray, images: np.ndarray, row: Callable[..., MetricRow]
) -> Iterator[MetricRow]:
    for name, of_subset, count in zip(names, sums, images):
        if count:
            yield row(metric, mean_iou_of_sums(of_subset), class_name=name, images=int(count))


def mean_iou_of_sums(sums: np.ndarray) -> float:
    """mIoU from pixels of intersection, ground truth and prediction by class, (C, 3), over the classes of the ground
    truth as in `scores.mean_iou`."""
    both, truth, predicted = sums[sums[:, 1] > 0].T
    return float(np.mean(both / (truth + predicted - both))) if len(truth) else float("nan")
