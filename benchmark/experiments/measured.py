"""What an experiment's rows score: values by seed, and the resamples that intervals are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.planning.changes import data_of
from methods.experiment import ExperimentRow
from results.directions import Scored, smallest_effect
from results.experiments import compared_rule
from results.intervals import Sampled
from results.reported import ReportedNumber, find_reported
from results.resamples import load_resamples, resamples_path

if TYPE_CHECKING:
    from benchmark.execution.runner import RunResult

LESS_IS_BETTER = frozenset({"confusion_ratio"})
"""Metrics of which a paper is proud when they are low."""
HOURS = "hours"
"""Metric of any stage: how long it took here. It is shown and never judged, as papers have other machines."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    scores: by row, see `ExperimentRow`; comparable: whether the paper's numbers are of what is scored here
    """

    title: str
    scores: tuple[str, ...]
    comparable: bool = True

    @property
    def less_is_better(self) -> bool:
        return all(score_parts(score)[1] in LESS_IS_BETTER for score in self.scores)

    @property
    def smallest_effect(self) -> float:
        """The smallest difference in a paper, in hundredths, that is held against ours."""
        return max(smallest_effect(score_parts(score)[1]) for score in self.scores)

    @property
    def is_judged(self) -> bool:
        """Whether a paper's differences in it can be held against ours."""
        return self.comparable and all(score_parts(score)[1] != HOURS for score in self.scores)


@dataclass(frozen=True)
class Measured:
    """One number of the table: `values` in hundredths (of `HOURS` in hours), one a seed.

    variant: threshold rule; is_compared: whether it stands beside the paper's
    """

    row: str
    column: str
    variant: str
    reported: float | None
    values: tuple[float, ...]
    is_compared: bool

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


def printed_number(row: ExperimentRow, score: str) -> float | None:
    """The paper's number of a row at one score, in hundredths; of `HOURS` as printed."""
    number = _reported(row, score)
    return round(_factor(score) * number.value, 6) if number else None


def _reported(row: ExperimentRow, score: str) -> ReportedNumber | None:
    return find_reported(row.reported, *score_parts(score)) if row.reported else None


def _factor(score: str) -> float:
    return 1 if score_parts(score)[1] == HOURS else 100


def _found(score: str, results: Sequence[RunResult]) -> Iterator[tuple[RunResult, str, dict[str, Any]]]:
    """Run, key of the scored artifact and metric row of every value of a score."""
    stage, metric, pattern = score_parts(score)
    for result in results:
        for planned, rows in result.scores:
            for row in rows:
                asked = (row["stage"], row["metric"]) == (stage, metric) and row["variant"] != "curve"
                if asked and fnmatchcase(row["class_name"], pattern):
                    yield result, planned.key, row
        for done in result.stages if metric == HOURS else ():
            if done["name"] == stage and not done["resumed"]:  # else the seconds are of its last part alone
                hours = done["seconds"] / 3600
                yield result, done["key"], {"metric": HOURS, "class_name": "", "variant": "", "value": hours}


def measure(row: ExperimentRow, column: Column, score: str, results: Sequence[RunResult]) -> list[Measured]:
    """A row's numbers in one column, one a threshold rule; one without values where it has none."""
    values: dict[str, list[float]] = {}
    for _, _, found in _found(score, results):
        values.setdefault(found["variant"], []).append(_factor(score) * found["value"])
    compared = compared_rule(values)
    values.setdefault(compared, [])
    printed = printed_number(row, score)
    return [
        Measured(row.label, column.title, rule, printed, tuple(of_rule), rule == compared)
        for rule, of_rule in values.items()
    ]


def scored(row: ExperimentRow, score: str, results: Sequence[RunResult], folder: Path, reason: str) -> Scored:
    """A row's score with the resamples that `folder` holds of it; `reason`: why there is none, if there is none."""
    values: dict[int, np.ndarray] = {}
    resamples: dict[int, np.ndarray] = {}
    keys: dict[int, str] = {}
    images = ""
    all_found = list(_found(score, results))
    compared = compared_rule({found["variant"] for _, _, found in all_found})
    for result, key, found in all_found:
        if found["variant"] == compared:
            seed = result.run.seed
            keys[seed] = key
            data = data_of(result.run.config, result.run.method.name)
            values[seed] = np.array([100 * found["value"]])
            sampled = load_resamples(resamples_path(folder, key, found["variant"], data))
            if sampled is not None:
                images = f"{sampled.images} {data}"
                drawn = sampled.of(found["metric"], found["class_name"])
                if drawn is not None:
                    resamples[seed] = 100 * drawn[:, None]
    whole = resamples if resamples.keys() == values.keys() else {}
    number = _reported(row, score)
    own = Sampled(values, whole, images) if values else None
    reason = "" if values else reason or "the data have no such score"
    return Scored(
        row.label,
        printed_number(row, score),
        own,
        reason,
        number.suspicious if number else "",
        score=":".join(score_parts(score)),
        threshold=compared if values else "",
        made_of=f"{score} {compared} {images} {sorted(keys.items())}" if values else "",
    )
