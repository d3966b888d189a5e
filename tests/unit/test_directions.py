"""Verdicts on a paper's tables: against t intervals computed apart, and where nothing may be concluded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from datasets.base import DataError
from results.directions import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_RUN,
    RANGE,
    REPRODUCED,
    Scored,
    directions,
    read_directions,
    verdict,
    write_directions,
)
from results.significance import Sampled


def row(
    label: str,
    printed: float | None,
    values: Mapping[int, float],
    *,
    spread: float = 0.0,
    images: str = "train",
) -> Scored:
    """A row whose resamples scatter by `spread` around each seed's value."""
    rng = np.random.default_rng(len(label))
    resamples = {s: v + spread * rng.standard_normal((500, 1)) for s, v in values.items()}
    return Scored(label, printed, Sampled({s: np.array([v]) for s, v in values.items()}, resamples, images))


def test_the_best_row_is_held_against_each_other_that_is_a_point_below_it() -> None:
    rows = [
        row("none", 50.0, {0: 40.0, 1: 41.0, 2: 42.0}),
        row("half", 58.9, {0: 60.0, 1: 61.0, 2: 62.0}),
        row("all", 60.0, {0: 50.0, 1: 51.5, 2: 52.0}),
        row("almost", 59.5, {0: 49.0, 1: 50.0, 2: 51.0}),
        row("not printed", None, {0: 90.0, 1: 90.0, 2: 90.0}),
    ]
    found = directions("m/t", "CAM", rows)
    assert [(d.better, d.row, d.verdict) for d in found] == [
        ("all", "none", REPRODUCED),
        ("all", "half", NOT_REPRODUCED),
        ("", "all / almost", RANGE),
    ]
    assert [d.n for d in found] == [3, 3, 3]
    assert found[0].paper == 10.0
    assert found[2].reason == "2 rows: paper 59.50 to 60.00, here 50.00 to 51.17"


def test_seeds_are_paired_and_their_variance_is_pooled() -> None:
    """Without variance over images: a t interval of the differences by seed, with the column's degrees of freedom."""
    best, first, second = (
        {0: 50.0, 1: 58.0, 2: 54.0},
        {0: 47.0, 1: 56.0, 2: 51.5},
        {0: 45.5, 1: 53.0, 2: 50.0},
    )
    found = directions("m/t", "CAM", [row("a", 60, best), row("b", 55, first), row("c", 50, second)])
    differences = [np.array([best[s] - other[s] for s in best]) for other in (first, second)]
    variance = np.mean([d.var(ddof=1) for d in differences])
    margin = scipy.stats.t.ppf(0.975, 4) * math.sqrt(variance / 3)
    for direction, difference in zip(found, differences, strict=True):
        assert direction.difference == pytest.approx(difference.mean())
        assert (direction.low, direction.high) == pytest.approx(
            (difference.mean() - margin, difference.mean() + margin)
        )
        assert direction.verdict == REPRODUCED  # unpaired, the seeds' spread of 4 points would hide it


def test_one_seed_speaks_of_the_images_alone() -> None:
    a, b = row("a", 60, {0: 52.0}, spread=0.5), row("bb", 50, {0: 50.0}, spread=0.5)
    (found,) = directions("m/t", "CAM", [a, b])
    assert a.sampled is not None
    assert b.sampled is not None
    error = (a.sampled.resamples[0] - b.sampled.resamples[0]).std(ddof=1)
    assert (found.low, found.high) == pytest.approx((2 - 1.95996 * error, 2 + 1.95996 * error), rel=1e-4)
    assert (found.n, found.reason) == (1, "over images alone")


def test_where_less_is_better_the_lowest_is_the_best() -> None:
    rows = [row("CAM", 74.0, {0: 60.0, 1: 61.0}), row("EPS", 10.0, {0: 20.0, 1: 20.5})]
    (found,) = directions("m/t", "ratio", rows, less_is_better=True)
    assert (found.better, found.paper, found.difference) == ("EPS", 64.0, pytest.approx(40.25))
    assert found.verdict == REPRODUCED


def test_of_equals_the_one_that_has_a_score_is_the_best() -> None:
    rows = [Scored("SGAN", 10.0, None, "not here"), row("EPS", 10.0, {0: 20.0}), row("CAM", 74.0, {0: 60.0})]
    found = directions("m/t", "ratio", rows, less_is_better=True)
    assert [(d.better, d.row) for d in found] == [("EPS", "CAM"), ("", "SGAN / EPS")]


def test_a_metric_without_bootstrap_needs_seeds() -> None:
    def bare(label: str, printed: float, values: Mapping[int, float]) -> Scored:
        return Scored(label, printed, Sampled({s: np.array([v]) for s, v in values.items()}, {}, ""))

    (one,) = directions("m/t", "ACC", [bare("a", 90, {0: 80.0}), bare("b", 80, {0: 70.0})])
    assert (one.verdict, one.n) == (INCONCLUSIVE, 1)
    assert "no interval" in one.reason
    assert math.isnan(one.low)
    seeds = [bare("a", 90, {0: 80.0, 1: 81.0}), bare("b", 80, {0: 70.0, 1: 71.5})]
    (two,) = directions("m/t", "ACC", seeds)
    interval = scipy.stats.ttest_1samp([10.0, 9.5], 0).confidence_interval(0.95)
    assert (two.low, two.high) == pytest.approx((interval.low, interval.high))
    assert two.reason == "over seeds alone"


@pytest.mark.parametrize(
    ("better", "other", "reason"),
    [
        (row("a", 60, {0: 50.0}), Scored("b", 50.0, None, "needs maps"), "needs maps"),
        (Scored("a", 60.0, None, "needs maps"), row("b", 50, {0: 50.0}), "a: needs maps"),
        (row("a", 60, {0: 50.0}), row("b", 50, {1: 50.0}), "no seed has both scores on the same images"),
        (
            row("a", 60, {0: 50.0}),
            row("b", 50, {0: 50.0}, images="val"),
            "no seed has both scores on the same images",
        ),
        (row("a", 60, {0: 50.0}), row("b", 50, {0: math.nan}), "no seed has both scores on the same images"),
    ],
)
def test_what_is_missing_is_not_run(better: Scored, other: Scored, reason: str) -> None:
    (found,) = directions("m/t", "CAM", [better, other])
    assert (found.verdict, found.reason, found.n) == (NOT_RUN, reason, 0)
    assert math.isnan(found.difference)


def test_a_table_with_one_printed_number_has_nothing_to_compare() -> None:
    assert directions("m/t", "CAM", [row("a", 60, {0: 50.0}), row("b", None, {0: 40.0})]) == []


@given(st.floats(-20, 20), st.floats(0, 20))
def test_verdicts(middle: float, margin: float) -> None:
    low, high = middle - margin, middle + margin
    found = verdict(low, high)
    assert (found == REPRODUCED) == (low > 0)
    assert found != INCONCLUSIVE or (low <= 0 and high >= 1)
    assert found != NOT_REPRODUCED or high < 1


def test_they_are_kept_beside_the_tables(tmp_path: Path) -> None:
    first = directions("m/one", "CAM", [row("a", 60, {0: 50.0}), Scored("b", 50.0, None, "needs, maps")])
    write_directions(
        tmp_path, "m/one", directions("m/one", "CAM", [row("a", 60, {0: 1.0}), row("b", 5, {0: 0.0})])
    )
    write_directions(tmp_path, "m/one", first)
    write_directions(tmp_path, "m/none", [])
    table = read_directions(tmp_path)
    assert table[["experiment", "better", "row", "verdict", "reason"]].values.tolist() == [
        ["m/one", "a", "b", NOT_RUN, "needs, maps"]
    ]
    assert math.isnan(table["low"][0])
    (tmp_path / "directions" / "m-two.csv").write_text("experiment,row\n")
    with pytest.raises(DataError, match=r"m-two\.csv: no comparisons of an experiment"):
        read_directions(tmp_path)
