"""Sums over images behind the scores of defects: which are found, on what area, with what on good parts, and AUPRO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.inspection.aupro import RegionOverlap
from benchmark.evaluation.inspection.defects import SIZES, Defects, defects_in, regions_marked, size_of
from benchmark.evaluation.scores import MetricRow
from datasets.base import IGNORE


class PartCounts(NamedTuple):
    """Of one image.

    areas: pixels of defects in the truth and in the prediction, where the truth is not 255
    alarms: regions of the prediction on a good part; None on others
    overlap: None without a map of scores
    """

    defects: Defects
    areas: tuple[int, int]
    alarms: int | None
    overlap: RegionOverlap | None


def part_counts(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int,
    good: bool,
    levels: NDArray[np.integer] | None = None,
    number: int = 0,
) -> PartCounts:
    """Count one image: all (H, W); levels: of its scores, 0..number - 1; good: whether it has no label."""
    known = truth != IGNORE
    areas = [
        int(np.count_nonzero(known & (labels != 0) & (labels != IGNORE))) for labels in (truth, prediction)
    ]
    return PartCounts(
        defects_in(truth[None], prediction[None], classes),
        (areas[0], areas[1]),
        regions_marked(prediction[None], classes) if good else None,
        None if levels is None else RegionOverlap(number).add(levels[None], truth[None]),
    )


class PartTally:
    """Sums of `PartCounts`.

    found, total: (C, 3) defects by class and size; areas: (2,) true and predicted pixels of images with a defect;
    errors: |predicted - true| / true area of each of these; alarms: regions on good parts; overlap: None until there
    was a map of scores
    """

    def __init__(self, classes: Sequence[str]) -> None:
        """classes: without the background"""
        self.classes = classes
        self.found = np.zeros((len(classes), len(SIZES)), np.int64)
        self.total = np.zeros_like(self.found)
        self.areas = np.zeros(2, np.int64)
        self.errors: list[float] = []
        self.alarms = self.good = 0
        self.overlap: RegionOverlap | None = None

    def add(self, counts: PartCounts) -> None:
        """Add one image."""
        defects = counts.defects
        cell = (defects.class_id - 1) * len(SIZES) + size_of(defects.size)
        for sums, chosen in ((self.total, cell), (self.found, cell[defects.found])):
            sums += np.bincount(chosen, minlength=sums.size).reshape(sums.shape)
        true, marked = counts.areas
        if true:
            self.areas += counts.areas
            self.errors.append(abs(marked - true) / true)
        if counts.alarms is not None:
            self.alarms += counts.alarms
            self.good += 1
        if counts.overlap is not None:
            if self.overlap is None:
                self.overlap = RegionOverlap(len(counts.overlap.normal))
            self.overlap += counts.overlap

    def rows(self, row: Callable[..., MetricRow]) -> Iterator[MetricRow]:
        """All scores that there is something for; row: makes one, as in `scores.metric_rows`. `images` of shares of
        defects is the number of defects."""
        by_class, by_size = ((self.found.sum(axis), self.total.sum(axis)) for axis in (1, 0))
        if count := int(self.total.sum()):
            yield row("defects_found", float(self.found.sum() / count), images=count)
        for metric, names, (found, total) in (
            ("defects_found", self.classes, by_class),
            ("defects_found_by_size", SIZES, by_size),
        ):
            for name, hits, count in zip(names, found.tolist(), total.tolist()):
                if count:
                    yield row(metric, hits / count, class_name=name, images=count)
        if self.errors:
            yield row("area_error", float(np.median(self.errors)), images=len(self.errors))
            yield row("area_bias", float(self.areas[1] / self.areas[0] - 1), images=len(self.errors))
        if self.good:
            yield row("alarms_per_good_part", self.alarms / self.good, images=self.good)
        if self.overlap is not None and self.overlap.regions:
            yield row("aupro", self.overlap.area(), images=self.overlap.regions)
