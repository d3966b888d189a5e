"""What an experiment's rows score: values by seed, and the resamples that intervals are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from methods.experiment import ExperimentRow
from results.directions import Scored
from results.experiments import COMPARED
from results.reported import find_reported
from results.resamples import load_resamples
from results.significance import Sampled

if TYPE_CHECKING:
    from benchmark.runner import CellResult

LESS_IS_BETTER = frozenset({"confusion_ratio"})
"""Metrics of which a paper is proud when they are low."""


@dataclass(frozen=True)
class Column:
    """A column of a table; scores: by row, see `ExperimentRow`."""

    title: str
    scores: tuple[str, ...]

    @property
    def less_is_better(self) -> bool:
        return all(score_parts(score)[1] in LESS_IS_BETTER for score in self.scores)


@dataclass(frozen=True)
class Measured:
    """One number of the table: `values` in hundredths, one a seed, by threshold rule (`variant`)."""

    row: str
    column: str
    variant: str
    reported: float | None
    values: tuple[float, ...]

    @property
    def is_compared(self) -> bool:
        """Whether it stands beside the paper's."""
        return self.variant in COMPARED

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else float("nan")

    @property
    def deviation(self) -> float:
        """Sample standard deviation; NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")


def score_parts(score: str) -> tuple[str, str, str]:
    """Stage, metric and pattern of the class of a row's score."""
    stage, metric, pattern = [*score.split(":"), "", ""][:3]
    return stage, metric or "miou", pattern


def _printed(row: ExperimentRow, score: str) -> float | None:
    """The paper's number of a row at one score, in hundredths."""
    if not row.reported:
        return None
    number = find_reported(row.reported, *score_parts(score))
    return round(100 * number.value, 6) if number else None


def _found(score: str, results: Sequence[CellResult]) -> Iterator[tuple[CellResult, str, dict[str, Any]]]:
    """Cell, key of the scored artifact and metric row of every value of a score."""
    stage, metric, pattern = score_parts(score)
    for result in results:
        for planned, rows in result.scores:
            for row in rows:
                asked = (row["stage"], row["metric"]) == (stage, metric) and row["variant"] != "curve"
                if asked and fnmatchcase(row["class_name"], pattern):
                    yield result, planned.key, row


def measure(row: ExperimentRow, column: Column, score: str, results: Sequence[CellResult]) -> list[Measured]:
    """A row's numbers in one column, one a threshold rule; one without values where it has none."""
    values: dict[str, list[float]] = {}
    for _, _, found in _found(score, results):
        values.setdefault(found["variant"], []).append(100 * found["value"])
    if not any(variant in COMPARED for variant in values):
        values[COMPARED[0]] = []
    printed = _printed(row, score)
    return [Measured(row.label, column.title, v, printed, tuple(of_rule)) for v, of_rule in values.items()]


def scored(
    row: ExperimentRow, score: str, results: Sequence[CellResult], folder: Path, reason: str
) -> Scored:
    """A row's score with the resamples that `folder` holds of it; `reason`: why there is none, if there is none."""
    values: dict[int, np.ndarray] = {}
    resamples: dict[int, np.ndarray] = {}
    images = ""
    for result, key, found in _found(score, results):
        if found["variant"] in COMPARED:
            seed = result.cell.seed
            values[seed] = np.array([100 * found["value"]])
            sampled = load_resamples(folder, key, found["variant"])
            if sampled is not None:
                images = sampled.images
                if found["metric"] == "miou":
                    resamples[seed] = 100 * sampled.miou[:, None]
                elif found["metric"] == "iou":
                    resamples[seed] = 100 * sampled.iou[:, [sampled.labels.index(found["class_name"])]]
    whole = resamples if resamples.keys() == values.keys() else {}
    printed = _printed(row, score)
    if not values:
        return Scored(row.label, printed, None, reason or "the data have no such score")
    return Scored(row.label, printed, Sampled(values, whole, images))
