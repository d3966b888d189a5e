"""Intervals, Holm's correction and groups: against statsmodels' and SciPy's numbers and slow definitions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from results.aggregate import leaderboard
from results.io import Run, records_frame
from results.resamples import Resamples, store_resamples
from results.schema import CellRecord, Record
from results.significance import Sampled, compare, estimate, group_equals, holm, significance

LABELS = ("background", "boat")


@pytest.mark.parametrize(
    ("p", "expected"),
    [  # by statsmodels.stats.multitest.multipletests(p, method="holm")
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2, 0.001, 0.001, 0.9, 0.04, 0.0499], [0.4, 0.006, 0.006, 0.9, 0.16, 0.16]),
        ([0.5], [0.5]),
    ],
)
def test_holm_agrees_with_statsmodels(p: list[float], expected: list[float]) -> None:
    assert holm(np.array(p)) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_holm_agrees_with_its_definition(p: list[float]) -> None:
    order = sorted(range(len(p)), key=lambda k: p[k])
    for k in range(len(p)):
        before = order[: order.index(k) + 1]
        slow = max(min(1.0, (len(p) - rank) * p[j]) for rank, j in enumerate(before))
        assert holm(np.array(p))[k] == pytest.approx(slow)


def test_holm_works_by_row_and_passes_over_what_was_not_tested() -> None:
    p = np.array([[0.01, math.nan, 0.02], [0.5, 0.01, 0.01]])
    assert holm(p) == pytest.approx(np.array([[0.02, math.nan, 0.02], [0.5, 0.03, 0.03]]), nan_ok=True)


def test_one_seed_is_the_bootstrap_alone() -> None:
    rng = np.random.default_rng(0)
    resamples = rng.normal(0.03, 0.01, (1, 2000, 1))
    found = estimate(np.array([[0.03]]), resamples)
    error = resamples.std(ddof=1)
    assert found.p[0] == pytest.approx(2 * scipy.stats.norm.sf(0.03 / error))
    assert (found.low[0], found.high[0]) == pytest.approx(
        (0.03 - 1.96 * error, 0.03 + 1.96 * error), rel=1e-3
    )
    assert found.n == 1


def test_without_variance_over_images_seeds_are_a_paired_t_test() -> None:
    values = np.array([[0.02], [0.05], [0.03]])
    found = estimate(values, np.repeat(values[:, None], 10, axis=1))
    reference = scipy.stats.ttest_1samp(values[:, 0], 0)
    assert found.p[0] == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high))


def test_variances_of_images_and_seeds_add_up() -> None:
    rng = np.random.default_rng(1)
    values = np.array([[0.02], [0.04]])
    resamples = values[:, None] + rng.normal(0, 0.01, (1, 500, 1))
    found = estimate(values, resamples)
    images, seeds = np.var(resamples.mean(0), ddof=1), np.var(values, ddof=1) / 2
    freedom = (images + seeds) ** 2 / seeds**2
    assert found.p[0] == pytest.approx(2 * scipy.stats.t.sf(0.03 / math.sqrt(images + seeds), freedom))


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Two methods that differ by chance alone, in images and seeds: 5 % of the tests reject."""
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(400):
        images = rng.normal(0, 1, (3, 200)) + rng.normal(0, 1, 200) + rng.normal(0, 0.1, (3, 1))
        weights = rng.multinomial(200, np.full(200, 1 / 200), 200)
        resamples = (images @ weights.T / 200)[..., None]
        rejected += estimate(images.mean(1, keepdims=True), resamples).p[0] < 0.05
    assert 4 <= rejected <= 36  # 20 expected; binomial, 3.7 deviations


def sampled(values: Mapping[int, float], images: str = "same", spread: float = 0.01) -> Sampled:
    common = np.random.default_rng(7).normal(0, spread, 50)
    resamples = {s: (v + common)[:, None] for s, v in values.items()}
    return Sampled({s: np.array([v]) for s, v in values.items()}, resamples, images)


def test_pairs_are_compared_over_the_seeds_both_have() -> None:
    a, b = sampled({0: 0.5, 1: 0.6, 2: 0.9}), sampled({1: 0.55, 0: 0.4, 3: 0.1})
    found = compare(a, b)
    assert found is not None
    assert (found.n, found.mean[0]) == (2, pytest.approx(0.075))
    assert compare(a, sampled({5: 0.1})) is None
    assert compare(a, sampled({0: 0.5}, images="others")) is None


def test_equals_are_equal() -> None:
    found = compare(sampled({0: 0.5}), sampled({0: 0.5}))
    assert found is not None
    assert (found.mean[0], found.p[0]) == (0, 1)


def test_groups_are_led_by_the_best_that_is_left() -> None:
    p = np.full((5, 5), 0.001)
    p[0, 1] = p[1, 0] = 0.3  # 0 and 1 are equal, 1 and 2 too, 0 and 2 are not
    p[1, 2] = p[2, 1] = 0.3
    p[2, 3] = p[3, 2] = math.nan  # not compared: not told apart
    assert group_equals(np.array([0.9, 0.85, 0.8, 0.7, math.nan]), p).tolist() == [1, 1, 2, 2, 0]


def run_with(folder: Path, entries: Mapping[str, Mapping[int, float]]) -> Run:
    """A run whose entries differ from each other by the same amount on every resample."""
    rng = np.random.default_rng(3)
    common = rng.normal(0, 0.01, 200)
    records, cells = [], []
    for number, (method, seeds) in enumerate(entries.items()):
        for seed, value in seeds.items():
            where = {"dataset": "shapes", "method": method, "scale": "nano", "protocol": "paper",
                     "refiner": "own", "segmenter": "own", "seed": seed}  # fmt: skip
            score = {"stage": "segmentation", "variant": "", "split": "val", "key": f"{method}{seed}"}
            records.append(Record(**where, **score, metric="miou", value=value))
            records += [Record(**where, **score, metric="iou", class_name=c, value=value) for c in LABELS]
            own = value + common + rng.normal(0, 0.002, 200)
            made = Resamples(own, np.stack([own, own], axis=1), LABELS, "images")
            if number < 4:
                store_resamples(folder, f"{method}{seed}", "", made)
            info = {"supervision": "M" if method == "bound" else "I"}
            cells.append(CellRecord(**where, status="done", method_info=info).as_dict())
    return Run(records_frame(records), cells, folder)


def test_a_board_has_groups_and_shared_ranks(tmp_path: Path) -> None:
    run = run_with(
        tmp_path,
        {"a": {0: 0.70, 1: 0.71}, "b": {0: 0.7005, 1: 0.7085}, "c": {0: 0.6, 1: 0.6}, "bound": {0: 0.9},
         "unsampled": {0: 0.99}},
    )  # fmt: skip
    found = significance(run, leaderboard(run.records, run.cells))
    total = found.standings[found.standings["class_name"] == ""].set_index("method")
    assert total["group"].to_dict() == {"a": 1, "b": 1, "c": 2, "bound": 0}
    assert total["rank"].to_dict() == {"a": 1, "b": 1, "c": 3, "bound": 0}
    assert total.loc["a", "n"] == 2
    assert total.loc["a", "low"] < 0.705 < total.loc["a", "high"]
    pairs = found.pairs[found.pairs["class_name"] == ""]
    assert [(a[3], b[3]) for a, b in zip(pairs["a"], pairs["b"])] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs["p_holm"].ge(pairs["p"]).all()
    assert set(found.pairs["class_name"]) == {"", *LABELS}


def test_a_run_without_resamples_has_no_groups(tmp_path: Path) -> None:
    run = Run(records_frame([]), [], tmp_path)
    found = significance(run, leaderboard(run.records, run.cells))
    assert found.standings.empty
    assert found.pairs.empty
