"""Verdicts on a paper's tables: against t intervals computed apart, and where nothing may be concluded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
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
    claims,
    difference_noise,
    directions,
    read_directions,
    verdict,
    write_directions,
)
from results.experiments import file_name
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


def test_seeds_are_paired_and_their_noise_is_that_of_all_rows() -> None:
    """Without variance over images: a t interval with the residual of rows and seeds, here cell by cell."""
    scores = [[50.0, 58.0, 54.0], [47.0, 56.0, 51.5], [45.5, 53.0, 50.0]]
    rows = [
        row(label, printed, dict(enumerate(values)))
        for label, printed, values in zip("abc", (60, 55, 50), scores, strict=True)
    ]
    found = directions("m/t", "CAM", rows)
    everything = sum(map(sum, scores)) / 9
    squares = 0.0
    for values in scores:
        for seed, value in enumerate(values):
            of_seed = sum(other[seed] for other in scores) / 3
            squares += (value - sum(values) / 3 - of_seed + everything) ** 2
    margin = scipy.stats.t.ppf(0.975, 4) * math.sqrt(2 * squares / 4 / 3)
    for direction, values in zip(found, scores[1:], strict=True):
        difference = (sum(scores[0]) - sum(values)) / 3
        assert direction.difference == pytest.approx(difference)
        assert (direction.low, direction.high) == pytest.approx((difference - margin, difference + margin))
        assert direction.verdict == REPRODUCED  # unpaired, the seeds' spread of 4 points would hide it


@pytest.mark.parametrize("others", [1, 6])
@pytest.mark.parametrize("over_images", [0.0, 0.3])
def test_intervals_cover_the_truth_as_often_as_promised(others: int, over_images: float) -> None:
    """Rows that differ by 2 points, on the same 3 seeds: each has its noise, all have the seed's, and the images'."""
    rng = np.random.default_rng(3)
    tables, covered = 1000 if over_images == 0 else 400, 0
    drawn = rng.standard_normal((500, others + 1, 1))
    drawn = over_images * (drawn - drawn.mean(0)) / drawn.std(0, ddof=1)
    for _ in range(tables):
        truth = np.array([52.0, *[50.0] * others])
        scores = truth + rng.normal(0, 1, (3, others + 1)) + 3 * rng.standard_normal((3, 1))
        scores += over_images * rng.standard_normal(others + 1)
        rows = [
            Scored(
                str(k),
                60.0 - 5 * (k > 0),
                Sampled(
                    {s: scores[s, [k]] for s in range(3)},
                    {s: scores[s, k] + drawn[:, k] for s in range(3)},
                    "same",
                ),
            )
            for k in range(others + 1)
        ]
        covered += sum(d.low < 2 < d.high for d in directions("m/t", "CAM", rows))
    # of 6 differences that share their best row the counts vary by up to twice a binomial's deviation
    deviation = math.sqrt(0.95 * 0.05 / (tables * others)) * (1 if others == 1 else 2)
    assert covered / (tables * others) == pytest.approx(0.95, abs=max(3 * deviation, 0.012))


@pytest.mark.parametrize("others", [1, 6])
def test_noise_has_the_freedom_that_it_claims(others: int) -> None:
    """A variance with f degrees of freedom is estimated with a relative variance of 2/f: 12 for 7 rows on 3 seeds.
    Pooled differences from one row have about 5.3 of them."""
    rng = np.random.default_rng(4)
    found = []
    for _ in range(2000):
        scores = rng.normal(0, 0.5, (others + 1, 3)) + 3 * rng.standard_normal(3)
        noise = difference_noise([dict(enumerate(row)) for row in scores])
        assert noise.freedom[0] == 2 * others
        found.append(noise.variance[0])
    assert np.mean(found) == pytest.approx(2 * 0.25, rel=0.05 if others == 6 else 0.1)
    assert np.var(found) / np.mean(found) ** 2 == pytest.approx(2 / (2 * others), rel=0.2)


def test_noise_of_differences_is_twice_the_rows_residual_and_missing_seeds_cost_freedom() -> None:
    pair = difference_noise([{0: 1.0, 1: 5.0, 2: 3.0}, {0: 0.5, 1: 4.0, 2: 2.75}])
    differences = np.array([0.5, 1.0, 0.25])
    assert (pair.variance[0], pair.freedom[0]) == (pytest.approx(differences.var(ddof=1)), 2)
    whole = difference_noise([{s: float(s * k % 5) for s in range(4)} for k in range(5)])
    assert whole.freedom[0] == 12
    holes = difference_noise([{0: 1.0, 1: 5.0, 2: 3.0}, {0: 0.5, 1: 4.0, 2: 2.75}, {1: 9.0}])
    assert (holes.variance[0], holes.freedom[0]) == (pytest.approx(pair.variance[0]), 2)
    assert difference_noise([]).freedom[0] == difference_noise([{0: 1.0}, {0: 2.0}]).freedom[0] == 0


def test_of_one_seed_other_rows_lend_their_noise() -> None:
    """Of what has one seed, too, something is known of seeds when the other rows have several."""
    rows = [
        row("best", 60, {0: 50.0, 1: 52.0, 2: 51.0}, spread=0.1),
        row("other", 50, {0: 44.0, 1: 45.0, 2: 46.5}, spread=0.1),
        row("one seed", 55, {0: 47.0}, spread=0.1),
    ]
    several, one = directions("m/t", "CAM", rows)
    assert [(d.n, d.reason) for d in (several, one)] == [(3, ""), (1, "")]
    assert one.high - one.low > 1.5 * (several.high - several.low)
    bare = [replace(each, sampled=replace(each.sampled, resamples={})) for each in rows if each.sampled]
    _, one = directions("m/t", "ACC", bare)
    assert (one.reason, one.n) == ("over seeds alone", 1)
    assert math.isfinite(one.low)


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
        (
            row("a", 60, {0: 50.0}),
            row("b", 50, {0: math.nan}),
            "b: not a number on any seed (nothing in the data that it counts)",
        ),
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


def test_claims_without_a_number_are_tested_alike() -> None:
    """What is known to be better, not by how much, is refuted by an interval below 0 alone."""
    steady = {0: 50.0, 1: 50.1, 2: 49.9}

    def lower_by(amount: float, label: str, printed: float | None = None) -> tuple[Scored, str]:
        return row(label, printed, {s: v - amount + 0.05 * (s == 1) for s, v in steady.items()}), "Fig. 1"

    others = [lower_by(3, "far"), lower_by(-3, "above"), lower_by(0.01, "same"), lower_by(3, "printed", 53.0)]
    found = claims("m/t", "CAM", row("it", 58.0, steady), others)
    assert [(d.row, d.verdict) for d in found] == [
        ("far", REPRODUCED),
        ("above", NOT_REPRODUCED),
        ("same", INCONCLUSIVE),
        ("printed", REPRODUCED),
    ]
    assert [d.paper for d in found] == [pytest.approx(x, nan_ok=True) for x in (math.nan,) * 3 + (5.0,)]
    assert {d.reason for d in found} == {"claimed in Fig. 1"}
    (turned,) = claims("m/t", "ratio", row("it", None, steady), others[:1], less_is_better=True)
    assert turned.verdict == NOT_REPRODUCED
    (missing,) = claims("m/t", "CAM", row("it", None, steady), [(Scored("gone", None, None, "no maps"), "")])
    assert missing.verdict == NOT_RUN


def test_what_was_run_under_other_conditions_is_kept_apart(tmp_path: Path) -> None:
    found = directions("m/one", "CAM", [row("a", 60, {0: 50.0}), row("b", 50, {0: 40.0})])
    write_directions(tmp_path, file_name("m/one", "shapes-nano"), found)
    short = "method.m.steps=5"
    changed = [replace(d, difference=-1.0, conditions=short) for d in found]
    for _ in range(2):
        write_directions(tmp_path, file_name("m/one", "shapes-nano", short), changed)
    elsewhere = [replace(d, difference=2.0, place="bluefilm-nano", conditions="of bluefilm") for d in found]
    write_directions(tmp_path, file_name("m/one", "bluefilm-nano"), elsewhere)
    table = read_directions(tmp_path).set_index("conditions")
    assert table["difference"].to_dict() == {"": 10.0, short: -1.0, "of bluefilm": 2.0}


def test_a_doubtful_number_and_what_is_no_number_are_said() -> None:
    best = row("a", 60, {0: 50.0})
    doubtful, nothing = replace(row("b", 50, {0: 40.0}), doubt="is 55 elsewhere"), row("c", 40, {0: math.nan})
    found = directions("m/one", "CAM", [best, doubtful, nothing])
    assert found[0].reason.endswith("the paper's b is doubtful: is 55 elsewhere")
    assert (found[1].verdict, found[1].reason[:28]) == (NOT_RUN, "c: not a number on any seed ")


def test_they_are_kept_beside_the_tables(tmp_path: Path) -> None:
    first = directions("m/one", "CAM", [row("a", 60, {0: 50.0}), Scored("b", 50.0, None, "needs, maps")])
    write_directions(
        tmp_path, "m-one", directions("m/one", "CAM", [row("a", 60, {0: 1.0}), row("b", 5, {0: 0.0})])
    )
    write_directions(tmp_path, "m-one", first)
    write_directions(tmp_path, "m-none", [])
    table = read_directions(tmp_path)
    assert table[["experiment", "better", "row", "verdict", "reason"]].values.tolist() == [
        ["m/one", "a", "b", NOT_RUN, "needs, maps"]
    ]
    assert math.isnan(table["low"][0])
    (tmp_path / "directions" / "m-two.csv").write_text("experiment,row\n")
    with pytest.raises(DataError, match=r"m-two\.csv: no comparisons of an experiment"):
        read_directions(tmp_path)
