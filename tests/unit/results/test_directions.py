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
    NOT_RUN,
    RANGE,
    REPRODUCED,
    REVERSED,
    SMALLER,
    Direction,
    Scored,
    claims,
    directions,
    floor_of,
    judged,
    pooled_noise,
    read_directions,
    verdict,
    write_directions,
)
from results.experiments import file_name
from results.intervals import Sampled


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


def held(*args: object, **more: object) -> list[Direction]:
    """Comparisons of one column, judged by themselves."""
    return judged(directions("m/t", "CAM", *args, **more))  # type: ignore[arg-type]


def test_the_best_row_is_held_against_each_other_that_is_a_point_below_it() -> None:
    rows = [
        row("none", 50.0, {0: 41.0, 1: 41.0, 2: 42.0}),
        row("half", 58.9, {0: 60.0, 1: 61.0, 2: 62.0}),
        row("all", 60.0, {0: 50.0, 1: 51.5, 2: 52.0}),
        row("almost", 59.5, {0: 49.0, 1: 50.0, 2: 51.0}),
        row("not printed", None, {0: 90.0, 1: 90.0, 2: 90.0}),
    ]
    found = held(rows)
    assert [(d.better, d.row, d.verdict) for d in found] == [
        ("all", "none", REPRODUCED),
        ("all", "half", REVERSED),
        ("", "all / almost", RANGE),
    ]
    assert [d.n for d in found] == [3, 3, 3]
    assert found[0].paper == 10.0
    assert (found[0].share, found[0].share_low) == (
        pytest.approx(found[0].difference / 10), pytest.approx(found[0].low / 10)
    )  # fmt: skip
    assert found[2].reason == "2 rows: paper 59.50 to 60.00, here 50.00 to 51.17"


def test_an_interval_is_of_the_pairs_own_seeds_shrunk_towards_all_pairs() -> None:
    """Without variance over images: a t interval, here seed by seed."""
    scores = [[50.0, 58.0, 54.0], [47.0, 56.0, 51.5], [45.5, 53.0, 50.0]]
    rows = [
        row(label, printed, dict(enumerate(values)))
        for label, printed, values in zip("abc", (60, 55, 50), scores, strict=True)
    ]
    found = held(rows)
    own = []
    for values in scores[1:]:
        differences = [a - b for a, b in zip(scores[0], values, strict=True)]
        middle = sum(differences) / 3
        own.append(sum((d - middle) ** 2 for d in differences) / 2)
    pooled = (2 * own[0] + 2 * own[1]) / 4
    for direction, values, variance in zip(found, scores[1:], own, strict=True):
        difference = (sum(scores[0]) - sum(values)) / 3
        margin = scipy.stats.t.ppf(0.975, 2.5) * math.sqrt((2 * variance + 0.5 * pooled) / 2.5 / 3)
        assert direction.difference == pytest.approx(difference)
        assert (direction.low, direction.high) == pytest.approx((difference - margin, difference + margin))


def test_a_noisy_row_widens_other_comparisons_little() -> None:
    pair = [row("best", 60, {0: 50.0, 1: 52.0, 2: 51.0}), row("other", 50, {0: 44.0, 1: 45.0, 2: 46.5})]
    alone = held(pair)[0]
    beside = held([*pair, row("noisy", 40, {0: 30.0, 1: 44.0, 2: 37.0})])[0]
    width = (alone.high - alone.low, beside.high - beside.low)
    assert 1 < width[1] / width[0] < 2  # with the noise of all rows alike: 5


def test_pairs_that_agree_are_told_apart_beside_pairs_that_do_not() -> None:
    """Settings of one network, in one folder with other methods."""
    quiet = [row("ρ = 30", 60, {0: 50.0, 1: 52.0, 2: 51.0})] + [
        row(f"ρ = {k}", 50, {0: 49.8 + 0.01 * k, 1: 51.79, 2: 50.81}) for k in range(4)
    ]
    loud = [row("ours", 60, {0: 50.0, 1: 52.0, 2: 51.0})] + [
        row(f"theirs {k}", 50, {0: 40.0 + k, 1: 48.0, 2: 43.0}) for k in range(4)
    ]
    together = judged([*directions("m/one", "CAM", quiet), *directions("m/two", "CAM", loud)])
    assert all(found.high - found.low < 0.6 for found in together[:4])  # with the mean of all: 2.6
    assert all(found.high - found.low > 5 for found in together[4:])


def test_differences_that_are_equal_but_for_rounding_count_for_none() -> None:
    equal = [row("one", 60, {0: 61.3, 1: 60.3, 2: 62.7}), row("other", 50, {0: 60.1, 1: 59.1, 2: 61.5})]
    noisy = [row("best", 60, {0: 50.0, 1: 52.0, 2: 51.0}), row("worse", 50, {0: 44.0, 1: 45.0, 2: 46.5})]
    alone = directions("m/one", "CAM", noisy)
    beside = [*alone, *directions("m/two", "CAM", equal)]
    assert 0 < beside[1].seeds < 1e-20
    assert pooled_noise(beside).variance == pytest.approx(pooled_noise(alone).variance / 2)


def test_one_comparison_has_one_interval_whichever_tables_show_it() -> None:
    """Beside rows of other noise, and another effect of the paper."""

    def known(each: Scored) -> Scored:
        return replace(each, made_of=each.label, score="cam:miou:")

    best, other = row("best", 60, {0: 50.0, 1: 52.0, 2: 51.0}), row("other", 50, {0: 44.0, 1: 45.0, 2: 46.5})
    noisy = row("noisy", 40, {0: 30.0, 1: 44.0, 2: 37.0})
    first = directions("m/one", "CAM", [known(best), known(other), known(noisy)])
    second = directions("m/two", "CAM mIoU", [known(replace(best, printed=53)), known(other)])
    found = judged([*first, *second])
    assert (found[0].low, found[0].high, found[0].p) == (found[2].low, found[2].high, found[2].p)
    assert found[0].same == found[2].same != found[1].same
    assert (found[0].paper, found[2].paper) == (10, 3)
    alone = judged([*first, *second, *second])
    assert (alone[2].low, alone[3].low) == (found[2].low, found[2].low)  # counted once in the pool


@pytest.mark.parametrize("others", [1, 6])
@pytest.mark.parametrize("over_images", [0.0, 0.3])
def test_intervals_cover_the_truth_as_often_as_promised(others: int, over_images: float) -> None:
    """Rows that differ by 2 points, on the same 3 seeds: each has its noise, all have the seed's, and the images'."""
    rng = np.random.default_rng(3)
    tables, covered = 1500 if others == 1 else 300, 0
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
        covered += sum(d.low < 2 < d.high for d in held(rows))
    assert 0.925 < covered / (tables * others) < 0.985


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0.5, 20), st.floats(0, 2))
def test_shares_are_the_interval_in_the_papers_units(
    seeds: list[float], effect: float, spread: float
) -> None:
    rows = [
        row("best", 50 + effect, dict(enumerate(seeds)), spread=spread),
        row("other", 50, {0: 0.0, 1: 0.5, 2: -0.25}, spread=spread),
    ]
    (found,) = held(rows, smallest=0.25)
    assert found.low <= found.difference <= found.high
    shares = (found.share_low, found.share, found.share_high)
    assert shares == pytest.approx([v / found.paper for v in (found.low, found.difference, found.high)])
    assert found.p_holm == found.p  # one comparison
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_of_one_seed_nothing_is_concluded() -> None:
    a, b = row("a", 60, {0: 52.0}, spread=0.5), row("bb", 50, {0: 50.0}, spread=0.5)
    (found,) = held([a, b])
    assert a.sampled is not None
    assert b.sampled is not None
    error = (a.sampled.resamples[0] - b.sampled.resamples[0]).std(ddof=1)
    assert (found.low, found.high) == pytest.approx((2 - 1.95996 * error, 2 + 1.95996 * error), rel=1e-4)
    assert found.low > 0
    assert found.verdict == INCONCLUSIVE
    assert (found.n, found.reason) == (1, "one seed: not tested; interval over images only")
    assert math.isnan(found.p)
    several = [row("best", 60, {0: 50.0, 1: 52.0, 2: 51.0}), row("other", 50, {0: 44.0, 1: 45.0, 2: 46.5})]
    both = held([*several, row("one seed", 55, {0: 7.0})])
    assert [(d.n, d.verdict) for d in both] == [(3, REPRODUCED), (1, INCONCLUSIVE)]
    assert both[0].p_holm == both[0].p  # what is not tested costs nothing


def test_where_less_is_better_the_lowest_is_the_best() -> None:
    rows = [row("CAM", 74.0, {0: 60.0, 1: 61.0}), row("EPS", 10.0, {0: 20.0, 1: 20.5})]
    (found,) = held(rows, less_is_better=True)
    assert (found.better, found.paper, found.difference) == ("EPS", 64.0, pytest.approx(40.25))
    assert found.verdict == REPRODUCED


def test_ratios_have_another_smallest_effect() -> None:
    rows = [row("CAM", 14.0, {0: 60.0, 1: 61.0}), row("EPS", 10.0, {0: 20.0, 1: 20.5})]
    (found,) = held(rows, less_is_better=True, smallest=5.0)
    assert found.verdict == RANGE


def test_where_the_best_row_was_not_run_the_others_are_compared() -> None:
    rows = [
        Scored("SGAN", 60.0, None, "not here"),
        row("EPS", 55.0, {0: 50.0, 1: 51.0, 2: 50.5}),
        row("CAM", 40.0, {0: 30.0, 1: 31.5, 2: 30.5}),
        Scored("SEAM", 45.0, None, "not here"),
    ]
    found = held(rows)
    assert [(d.better, d.row, d.verdict, d.paper) for d in found] == [
        ("SGAN", "EPS", NOT_RUN, 5.0),
        ("EPS", "CAM", REPRODUCED, 15.0),
        ("EPS", "SEAM", NOT_RUN, 10.0),
    ]
    assert found[0].reason == "SGAN: not here"
    assert found[1].reason == "the paper's best row, SGAN, was not run"


def test_a_verdict_says_at_which_threshold_it_is() -> None:
    cams = [replace(row(n, p, {0: v}), threshold="oracle") for n, p, v in (("a", 60, 50.0), ("b", 50, 40.0))]
    label = row("c", 40, {0: 30.0})
    assert [d.threshold for d in held([*cams, label])] == ["oracle", "oracle"]
    assert [d.threshold for d in held([row("d", 70, {0: 60.0}), label])] == [""]


def test_of_equals_the_one_that_has_a_score_is_the_best() -> None:
    rows = [Scored("SGAN", 10.0, None, "not here"), row("EPS", 10.0, {0: 20.0}), row("CAM", 74.0, {0: 60.0})]
    found = held(rows, less_is_better=True)
    assert [(d.better, d.row) for d in found] == [("EPS", "CAM"), ("", "SGAN / EPS")]


def test_a_metric_without_bootstrap_needs_seeds_and_has_a_floor() -> None:
    def bare(label: str, printed: float, values: Mapping[int, float]) -> Scored:
        return Scored(label, printed, Sampled({s: np.array([v]) for s, v in values.items()}, {}, ""))

    (one,) = held([bare("a", 90, {0: 80.0}), bare("b", 80, {0: 70.0})])
    assert (one.verdict, one.n) == (INCONCLUSIVE, 1)
    assert "no interval" in one.reason
    assert math.isnan(one.low)
    (two,) = held([bare("a", 90, {0: 80.0, 1: 81.0}), bare("b", 80, {0: 70.0, 1: 70.75})])
    seeds, images = np.var([10.0, 10.25], ddof=1) / 2, 0.5**2
    quantiles = (scipy.stats.norm.isf(0.025) * images + scipy.stats.t.isf(0.025, 1) * seeds) / (
        images + seeds
    )
    assert two.high - two.difference == pytest.approx(quantiles * math.sqrt(images + seeds))
    assert two.reason == "not bootstrapped: its standard error over images is taken to be 0.5"
    (agreeing,) = held([bare("a", 90, {0: 10.9, 1: 11.9}), bare("b", 80, {0: 10.0, 1: 11.0})])
    assert agreeing.low < 0  # less than the smallest effect, whichever way the seeds agree
    assert floor_of("cam:confusion_ratio:a|b") == 2.5
    assert floor_of("cam:boundary_f1:") == 1.0
    assert floor_of("cam:miou:") == floor_of("") == 0.5


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
    (found,) = claims("m/t", "CAM", better, [(other, "it")])
    found = replace(found, reason=found.reason.removeprefix("claimed in it; "))
    assert (found.verdict, found.reason, found.n) == (NOT_RUN, reason, 0)
    assert math.isnan(found.difference)


def test_a_table_with_one_printed_number_has_nothing_to_compare() -> None:
    assert directions("m/t", "CAM", [row("a", 60, {0: 50.0}), row("b", None, {0: 40.0})]) == []


@given(st.floats(-20, 20), st.floats(0, 20), st.floats(1, 20) | st.just(math.nan), st.floats(0, 1))
def test_verdicts(middle: float, margin: float, paper: float, p: float) -> None:
    low, high = middle - margin, middle + margin
    found = verdict(low, high, paper, p)
    sized = not math.isnan(paper)
    assert found != REPRODUCED or (low > 0 and p < 0.05 and not (sized and high < paper / 2))
    assert found != REVERSED or (high < 0 and p < 0.05)
    assert found != SMALLER or (sized and high < paper / 2)
    assert found != INCONCLUSIVE or p >= 0.05 or (low <= 0 <= high)
    assert not (sized and high < paper / 2) or found in (SMALLER, REVERSED)


def test_a_table_is_corrected_for_its_comparisons() -> None:
    scores = ({0: 3.0, 1: 1.9, 2: 2.4}, {0: 0.0, 1: 0.1, 2: 0.0}, {0: 0.0, 1: 0.3, 2: -0.1})
    rows = [row(n, p, v) for n, p, v in zip("abc", (60, 58, 57), scores, strict=True)]
    alone, both = held(rows[:2]), held(rows)
    assert alone[0].p_holm == alone[0].p
    assert max(d.p_holm for d in both) >= 2 * min(d.p for d in both)
    assert [d.verdict for d in judged([Direction("m", "c", "a", "b", 4.0, 2.0, 0.9**2, 0.1, 3)] * 4)] == [
        INCONCLUSIVE
    ] * 4
    (one,) = judged([Direction("m", "c", "a", "b", 4.0, 2.0, 0.9**2, 0.1, 3)])
    assert one.verdict == REPRODUCED


def test_a_sure_sign_of_a_small_effect_is_said() -> None:
    (small,) = judged([Direction("m", "c", "a", "b", 6.5, 0.3, 0.05**2, 0.05**2, 3)])
    assert (small.verdict, small.reason) == (SMALLER, "sign sure")
    (unsure,) = judged([Direction("m", "c", "a", "b", 6.5, 0.1, 0.1**2, 0.1**2, 3)])
    assert (unsure.verdict, unsure.reason) == (SMALLER, "")


def test_only_what_falls_short_keeps_its_diagnosis() -> None:
    found = [Direction("m", "c", "a", "b", 6.0, d, 0.01, 0.01, 3, diagnosis="why") for d in (6.0, 0.5, -3.0)]
    assert [(d.verdict, d.diagnosis) for d in judged(found)] == [
        (REPRODUCED, ""),
        (SMALLER, "why"),
        (REVERSED, "why"),
    ]


def test_claims_without_a_number_are_tested_alike() -> None:
    """What is known to be better, not by how much, is refuted by an interval below 0 alone."""
    steady = {0: 50.0, 1: 50.1, 2: 49.9}

    def lower_by(amount: float, label: str, printed: float | None = None) -> tuple[Scored, str]:
        return row(label, printed, {s: v - amount + 0.05 * (s == 1) for s, v in steady.items()}), "Fig. 1"

    others = [lower_by(3, "far"), lower_by(-3, "above"), lower_by(0.01, "same"), lower_by(3, "printed", 53.0)]
    found = judged(claims("m/t", "CAM", row("it", 58.0, steady), others))
    assert [(d.row, d.verdict) for d in found] == [
        ("far", REPRODUCED),
        ("above", REVERSED),
        ("same", INCONCLUSIVE),
        ("printed", REPRODUCED),
    ]
    assert [d.paper for d in found] == [pytest.approx(x, nan_ok=True) for x in (math.nan,) * 3 + (5.0,)]
    assert {d.reason for d in found} == {"claimed in Fig. 1"}
    (turned,) = judged(claims("m/t", "ratio", row("it", None, steady), others[:1], less_is_better=True))
    assert turned.verdict == REVERSED
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
