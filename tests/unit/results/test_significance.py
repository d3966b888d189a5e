"""Intervals, Holm's correction and groups: against statsmodels' and SciPy's numbers and slow definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from results.aggregate import leaderboard
from results.changes import data_changes
from results.intervals import (
    IMAGES_AND_SEEDS,
    IMAGES_ONLY,
    Sampled,
    SeedNoise,
    compare,
    estimate,
    group_equals,
    holm,
    maybe_best,
    quantile,
    resolution,
    score_of,
    seed_noise,
)
from results.io import StoredRuns, records_frame
from results.resamples import Resamples, resamples_path, store_resamples
from results.schema import Record, RunRecord
from results.significance import significance

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
def test_holm_agrees_with_its_definition(p: list[float]) -> None:
    order = sorted(range(len(p)), key=lambda k: p[k])
    for k in range(len(p)):
        before = order[: order.index(k) + 1]
        slow = max(min(1.0, (len(p) - rank) * p[j]) for rank, j in enumerate(before))
        assert holm(np.array(p))[k] == pytest.approx(slow)


def test_holm_works_by_row_and_passes_over_what_was_not_tested() -> None:
    p = np.array([[0.01, math.nan, 0.02], [0.5, 0.01, 0.01]])
    assert holm(p) == pytest.approx(np.array([[0.02, math.nan, 0.02], [0.5, 0.03, 0.03]]), nan_ok=True)


def sampled(
    values: Mapping[int, float], images: str = "same", spread: float = 0.01, own: float = 0.002, seed: int = 0
) -> Sampled:
    """An entry whose resamples share noise with all others, and have a little of their own."""
    common = np.random.default_rng(7).normal(0, spread, 2000)
    rng = np.random.default_rng(seed)
    resamples = {s: (v + common + rng.normal(0, own, 2000))[:, None] for s, v in values.items()}
    return Sampled({s: np.array([v]) for s, v in values.items()}, resamples, images)


def difference(a: Sampled, b: Sampled, *others: Sampled):
    found = compare(a, b, seed_noise([a, b, *others]))
    assert found is not None
    return found


def test_one_seed_has_an_interval_over_images_and_is_not_tested() -> None:
    a, b = sampled({0: 0.53}, seed=1), sampled({0: 0.50}, seed=2)
    error = (a.resamples[0] - b.resamples[0]).std(ddof=1)
    assert error == pytest.approx(0.002 * math.sqrt(2), rel=0.05)  # what they share is gone
    for other in (b, sampled({0: 0.50, 1: 0.50}, seed=2)):
        found = difference(a, other)
        error = (a.mean_resamples - other.mean_resamples).std(ddof=1)
        assert (found.low[0], found.high[0]) == pytest.approx(
            (0.03 - 1.96 * error, 0.03 + 1.96 * error), rel=1e-3
        )
        assert math.isnan(found.p[0])
        assert found.n == 1


def test_without_variance_over_images_seeds_are_welchs_test_but_for_the_shrinkage() -> None:
    a, b = {0: 0.62, 1: 0.65, 2: 0.63}, {0: 0.58, 1: 0.61}
    entries = [sampled(each, spread=0.0, own=0.0) for each in (a, b)]
    nothing = SeedNoise(np.zeros(1), np.zeros(1, int))  # to shrink towards
    found = compare(*entries, nothing)
    assert found is not None
    reference = scipy.stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False)
    assert found.p[0] == pytest.approx(reference.pvalue, rel=1e-6)
    interval = reference.confidence_interval(0.95)
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high))
    assert found.n == 2


def test_intervals_agree_with_a_slow_reference() -> None:
    """Three entries of one to three seeds on seven images of two classes, everything in loops from the images on:
    resamples by adding up images, mIoU, variances by their definitions, interval and p of the difference."""
    rng = np.random.default_rng(5)
    images, draws, classes = 7, 60, 2
    truth = rng.integers(20, 60, (images, classes))
    chosen = [[int(k) for k in rng.integers(images, size=images)] for _ in range(draws)]

    def miou(counts: np.ndarray, drawn: list[int]) -> float:
        """counts: (images, 2, classes), intersection and prediction."""
        ious = []
        for c in range(classes):
            intersection = truths = predicted = 0
            for k in drawn:
                intersection += int(counts[k, 0, c])
                predicted += int(counts[k, 1, c])
                truths += int(truth[k, c])
            ious.append(intersection / (truths + predicted - intersection))
        return sum(ious) / classes

    entries = []
    for seeds, quality in ((3, 0.8), (2, 0.6), (1, 0.5)):
        by_seed = {}
        for s in range(seeds):
            hit = rng.binomial(truth, quality + 0.02 * s)
            by_seed[s] = np.stack([hit, hit + rng.integers(5, 25, hit.shape)], axis=1)
        entries.append(by_seed)
    everything = list(range(images))
    values = [{s: miou(c, everything) for s, c in by_seed.items()} for by_seed in entries]
    resampled = [{s: [miou(c, d) for d in chosen] for s, c in by_seed.items()} for by_seed in entries]

    squares, freedom = 0.0, 0
    own_squares = []
    for of_entry in values[:2]:
        mean = sum(of_entry.values()) / len(of_entry)
        own_squares.append(sum((v - mean) ** 2 for v in of_entry.values()))
        squares += own_squares[-1]
        freedom += len(of_entry) - 1
    pooled = squares / freedom
    own = [
        Sampled(
            {s: np.array([v]) for s, v in value.items()},
            {s: np.array(r)[:, None] for s, r in resamples.items()},
            "",
        )
        for value, resamples in zip(values, resampled)
    ]
    a, b = 0, 1
    mean = sum(values[a].values()) / len(values[a]) - sum(values[b].values()) / len(values[b])
    by_draw = [
        sum(r[k] for r in resampled[a].values()) / len(resampled[a])
        - sum(r[k] for r in resampled[b].values()) / len(resampled[b])
        for k in range(draws)
    ]
    middle = sum(by_draw) / draws
    over_images = sum((d - middle) ** 2 for d in by_draw) / (draws - 1)
    parts = [(own_squares[k] + 0.5 * pooled) / (len(values[k]) - 1 + 0.5) / len(values[k]) for k in (a, b)]
    over_seeds = parts[0] + parts[1]
    degrees = over_seeds**2 / (parts[0] ** 2 / 2.5 + parts[1] ** 2 / 1.5)  # Welch's
    found = compare(own[a], own[b], seed_noise(own))
    assert found is not None
    assert found.mean[0] == pytest.approx(mean)

    def margin(level: float) -> float:
        """Cochran's: quantiles weighted by the variances that they stand for."""
        normal, student = scipy.stats.norm.isf(level / 2), scipy.stats.t.isf(level / 2, degrees)
        return (normal * over_images + student * over_seeds) / math.sqrt(over_images + over_seeds)

    assert (found.low[0], found.high[0]) == pytest.approx((mean - margin(0.05), mean + margin(0.05)))
    assert margin(found.p[0]) == pytest.approx(abs(mean))


@given(
    st.floats(1e-4, 1),
    st.floats(0, 1),
    st.floats(0, 1).filter(lambda v: v == 0 or v > 1e-6),
    st.floats(1, 40),
)
def test_a_p_value_is_the_level_whose_interval_ends_at_zero(
    mean: float, images: float, seeds: float, freedom: float
) -> None:
    variance = (np.array([images + 1e-9]), np.array([seeds]), np.array([freedom]))
    found = estimate(np.array([mean]), *variance, 2)
    assert (found.p[0] < 0.05) == (found.low[0] > 0)
    assert 0 < found.p[0] <= 1
    if 1e-12 < found.p[0] < 1:
        error = math.sqrt(images + 1e-9 + seeds)
        assert quantile(found.p, *variance)[0] * error == pytest.approx(mean, rel=1e-5)
    wider = estimate(np.array([mean]), variance[0], variance[1] + 0.1, variance[2], 2)
    assert wider.high[0] > found.high[0]


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=2, max_size=5))
def test_shrunk_variances_lie_between_ones_own_and_the_pooled(seeds: list[list[float]]) -> None:
    entries = [Sampled({s: np.array([v]) for s, v in enumerate(of)}, {}, "") for of in seeds]
    pooled = seed_noise(entries)
    for entry in entries:
        own, shrunk = entry.noise, entry.noise.shrunk(pooled)
        ends = sorted([own.variance[0], pooled.variance[0]])
        assert ends[0] - 1e-12 <= shrunk.variance[0] <= ends[1] + 1e-12
        assert abs(shrunk.variance[0] - own.variance[0]) <= abs(ends[1] - ends[0]) / 3 + 1e-12
        assert shrunk.freedom[0] == own.freedom[0] + 0.5


def test_a_noisy_third_entry_changes_little() -> None:
    still = {"spread": 0.0, "own": 0.0}
    a, b = (sampled(v, **still) for v in ({0: 0.60, 1: 0.62, 2: 0.61}, {0: 0.50, 1: 0.53, 2: 0.51}))
    quiet, noisy = (sampled({0: 0.4, 1: 0.4 + r, 2: 0.4 - r}, **still) for r in (0.01, 0.05))
    widths = [found.high[0] - found.low[0] for found in (difference(a, b, quiet), difference(a, b, noisy))]
    assert 1 < widths[1] / widths[0] < 1.5  # with a pooled variance 2.8


def test_seeds_without_a_class_have_no_part_in_its_variance() -> None:
    """Three entries and two scores; the second is missing in a seed of the first, and in all of the second."""
    gone = math.nan
    seeds = [[[0.6, 0.3], [0.62, gone], [0.64, 0.5]], [[0.5, gone], [0.53, gone]], [[0.4, 0.2], [0.41, 0.28]]]
    entries = [Sampled({s: np.array(v) for s, v in enumerate(of)}, {}, "") for of in seeds]
    noise = seed_noise(entries)
    assert noise.freedom.tolist() == [2 + 1 + 1, 1 + 0 + 1]
    first = sum(2 * np.var([v[0] for v in of], ddof=1) if len(of) == 3 else np.var([v[0] for v in of], ddof=1)
                for of in seeds) / 4  # fmt: skip
    second = (np.var([0.3, 0.5], ddof=1) + np.var([0.2, 0.28], ddof=1)) / 2
    assert noise.variance == pytest.approx([first, second])


def test_variances_of_images_and_seeds_add_up() -> None:
    a = sampled({0: 0.52, 1: 0.54})
    found = score_of(a)
    images = np.var((a.resamples[0] + a.resamples[1]) / 2, ddof=1)
    seeds = np.var([0.52, 0.54], ddof=1) / 2
    both = math.sqrt(images + seeds)
    margin = (scipy.stats.norm.isf(0.025) * images + scipy.stats.t.isf(0.025, 1) * seeds) / both
    assert (found.low[0], found.high[0]) == pytest.approx((0.53 - margin, 0.53 + margin))


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Two methods that differ by chance alone, in images and seeds: 5 % of the tests reject."""
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(400):
        weights = rng.multinomial(200, np.full(200, 1 / 200), 200).T / 200
        shared = rng.normal(0, 1, 200)
        entries = []
        for _ in range(2):
            images = rng.normal(0, 1, (3, 200)) + shared + rng.normal(0, 1, 200) + rng.normal(0, 0.1, (3, 1))
            values = {s: images[s].mean(keepdims=True) for s in range(3)}
            entries.append(Sampled(values, {s: (images[s] @ weights)[:, None] for s in range(3)}, "same"))
        rejected += difference(*entries).p[0] < 0.05
    assert 2 <= rejected <= 36  # at most 20 expected; binomial, 3.7 deviations


def test_other_images_are_not_compared() -> None:
    a, b = sampled({0: 0.5}), sampled({0: 0.5}, images="others")
    assert compare(a, b, seed_noise([a, b])) is None


def test_equals_are_equal() -> None:
    found = difference(sampled({0: 0.5, 1: 0.6}), sampled({0: 0.5, 1: 0.6}))
    assert (found.mean[0], found.p[0]) == (0, 1)


def test_groups_are_led_by_the_best_that_is_left() -> None:
    p = np.full((5, 5), 0.001)
    p[0, 1] = p[1, 0] = 0.3  # 0 and 1 are equal, 1 and 2 too, 0 and 2 are not
    p[1, 2] = p[2, 1] = 0.3
    p[2, 3] = p[3, 2] = math.nan  # not compared: not told apart
    assert group_equals(np.array([0.9, 0.85, 0.8, 0.7, math.nan]), p).tolist() == [1, 1, 2, 2, 0]


def run_with(folder: Path, entries: Mapping[str, Mapping[int, float]]) -> StoredRuns:
    """A run whose entries differ from each other by the same amount on every resample."""
    rng = np.random.default_rng(3)
    common = rng.normal(0, 0.01, 200)
    records, runs = [], []
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
                store_resamples(resamples_path(folder, f"{method}{seed}", ""), made)
            info = {"supervision": "M" if method == "bound" else "I"}
            runs.append(RunRecord(**where, status="done", method_info=info).as_dict())
    return StoredRuns(records_frame(records), runs, folder)


def test_scores_against_another_ground_truth_are_not_compared(tmp_path: Path) -> None:
    """One artifact scored twice: both resamples are kept, and the two entries are not held against each other."""
    rng = np.random.default_rng(4)
    records, runs = [], []
    other = "dataset.ground_truth=coco_stuff"
    made = (("a", "", 0.4), ("a", other, 0.7), ("b", "", 0.2), ("c", "", 0.4))
    for seed, (method, changes, value) in itertools.product((0, 1), made):
        where = {"dataset": "coco2014", "method": method, "scale": "nano", "protocol": "paper",
                 "refiner": "own", "segmenter": "own", "seed": seed, "changes": changes}  # fmt: skip
        score = {"stage": "cam", "variant": "fixed", "split": "train", "key": f"{method}123-{seed}"}
        records.append(Record(**where, **score, metric="miou", value=value))
        records += [Record(**where, **score, metric="iou", class_name=c, value=value) for c in LABELS]
        own = value + rng.normal(0, 0.01, 200)
        path = resamples_path(tmp_path, f"{method}123-{seed}", "fixed", data_changes(changes, "coco2014"))
        store_resamples(path, Resamples(own, np.stack([own, own], axis=1), LABELS, "images"))
        runs.append(RunRecord(**where, status="done", method_info={"supervision": "I"}).as_dict())
    stored = StoredRuns(records_frame(records), runs, tmp_path)
    found = significance(stored, leaderboard(stored.records, stored.runs))
    total = found.standings[found.standings["class_name"] == ""].set_index(["method", "changes"])
    assert total.loc[("a", ""), "low"] < 0.4 < total.loc[("a", ""), "high"] < 0.5
    assert total.loc[("a", other), "low"] > 0.6
    groups = {("a", ""): 1, ("a", other): 1, ("b", ""): 2, ("c", ""): 1}
    assert total["group"].to_dict() == groups
    paired = found.pairs[found.pairs["class_name"] == ""]
    assert sorted(sorted((a[3], b[3])) for a, b in zip(paired["a"], paired["b"])) == [
        ["a", "b"],
        ["a", "c"],
        ["b", "c"],
    ]


def test_where_data_lie_is_no_difference_but_for_a_folder() -> None:
    changes = "method.m.x=1; dataset.root=/a; dataset.subset=8"
    assert data_changes(changes, "voc2012") == "dataset.subset=8"
    assert data_changes(changes, "folder") == "dataset.root=/a; dataset.subset=8"


def test_a_board_has_groups_and_shared_ranks(tmp_path: Path) -> None:
    stored = run_with(
        tmp_path,
        {"a": {0: 0.70, 1: 0.71}, "b": {0: 0.7005, 1: 0.7085}, "c": {0: 0.6, 1: 0.6}, "bound": {0: 0.9},
         "unsampled": {0: 0.99}},
    )  # fmt: skip
    found = significance(stored, leaderboard(stored.records, stored.runs))
    total = found.standings[found.standings["class_name"] == ""].set_index("method")
    assert total["group"].to_dict() == {"a": 1, "b": 1, "c": 2, "bound": 0}
    assert total["rank"].to_dict() == {"a": 1, "b": 1, "c": 3, "bound": 0}
    assert total.loc["a", "n"] == 2
    assert total.loc["a", "low"] < 0.705 < total.loc["a", "high"]
    pairs = found.pairs[found.pairs["class_name"] == ""]
    assert [(a[3], b[3]) for a, b in zip(pairs["a"], pairs["b"])] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs["p_holm"].ge(pairs["p"]).all()
    assert set(found.pairs["class_name"]) == {"", *LABELS}


def test_of_one_seed_nothing_is_tested(tmp_path: Path) -> None:
    stored = run_with(tmp_path, {"a": {0: 0.70, 1: 0.71}, "b": {0: 0.6, 1: 0.61}, "one": {0: 0.9}})
    found = significance(stored, leaderboard(stored.records, stored.runs))
    total = found.standings[found.standings["class_name"] == ""].set_index("method")
    assert total["rank"].to_dict() == {"a": 1, "b": 2, "one": 0}
    assert total["group"].to_dict() == {"a": 1, "b": 2, "one": 0}
    assert total["interval"].to_dict() == {"a": IMAGES_AND_SEEDS, "b": IMAGES_AND_SEEDS, "one": IMAGES_ONLY}
    assert {entry[3] for side in "ab" for entry in found.pairs[side]} == {"a", "b"}
    stored = run_with(tmp_path, {"a": {0: 0.70}, "b": {0: 0.6}})
    found = significance(stored, leaderboard(stored.records, stored.runs))
    assert found.pairs.empty
    assert found.resolution.empty
    assert not found.standings[["group", "rank", "maybe_best"]].any(axis=None)


def test_tests_against_a_baseline_correct_for_fewer_pairs(tmp_path: Path) -> None:
    seeds = {"a": {0: 0.70, 1: 0.71}, "b": {0: 0.69, 1: 0.70}, "c": {0: 0.68, 1: 0.69}}
    stored = run_with(tmp_path, seeds)
    board = leaderboard(stored.records, stored.runs)
    every, against = (significance(stored, board, baseline) for baseline in ("", "c"))
    total = against.pairs[against.pairs["class_name"] == ""]
    assert [(a[3], b[3]) for a, b in zip(total["a"], total["b"])] == [("a", "c"), ("b", "c")]
    both = total.merge(every.pairs, on=["a", "b", "class_name"], suffixes=("", "_all"))
    assert (both["p"] == both["p_all"]).all()
    assert (both["p_holm"] < both["p_holm_all"]).all()
    assert (both["low"] == both["low_all"]).all()
    assert not against.standings["group"].any()
    assert against.resolution["difference"][0] < every.resolution["difference"][0]


def made_up(mean: float, images: float, seeds: float, n: int = 3):
    parts = (np.array([mean]), np.array([images]), np.array([seeds]))
    return estimate(*parts, np.array([2.0 * (n - 1 + 0.5)]), n)


def test_what_can_be_resolved_is_found_with_the_power_that_is_named() -> None:
    """By the distribution of its own statistic where there are seeds alone: the non-central t."""
    found = resolution([made_up(0.0, 0.0, 0.01**2)])
    assert found is not None
    power = scipy.stats.nct.sf(scipy.stats.t.isf(0.025, 5), 5, found.difference / 0.01)
    assert power == pytest.approx(0.8, abs=0.02)
    assert found.pairs == 1
    assert found.n == 3
    enough = resolution([made_up(0.0, 0.0, 0.01**2)] * 3)
    assert enough is not None
    assert enough.difference > found.difference
    (before, after) = (resolution([made_up(0.0, 0.001**2, s)]) for s in (0.005**2, 0.01**2))
    assert before is not None
    assert after is not None
    assert 3 < before.seeds < after.seeds
    limited = resolution([made_up(0.0, 0.02**2, 0.0)])
    assert limited is not None
    assert limited.seeds == 0
    assert resolution([]) is None


def test_the_best_may_be_any_that_none_beats() -> None:
    means = [np.array([m]) for m in (0.6, 0.59, 0.5)]
    pairs = {(0, 1): 0.01, (0, 2): 0.1, (1, 2): 0.09}
    tested = {pair: made_up(d, 0.01**2, 0.001**2) for pair, d in pairs.items()}
    assert maybe_best(means, tested)[:, 0].tolist() == [True, True, False]
    turned = {(0, 2): made_up(-0.1, 0.01**2, 0.001**2)}
    assert maybe_best([means[2], means[1], means[0]], turned)[:, 0].tolist() == [False, True, True]


def test_a_run_without_resamples_has_no_groups(tmp_path: Path) -> None:
    stored = StoredRuns(records_frame([]), [], tmp_path)
    found = significance(stored, leaderboard(stored.records, stored.runs))
    assert found.standings.empty
    assert found.pairs.empty
