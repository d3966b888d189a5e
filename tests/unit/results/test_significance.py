"""Intervals, Holm's correction and groups: against statsmodels' and SciPy's numbers and slow definitions."""

from __future__ import annotations

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
from results.io import Run, records_frame
from results.resamples import Resamples, resamples_path, store_resamples
from results.schema import CellRecord, Record
from results.significance import Sampled, compare, group_equals, holm, score_of, seed_noise, significance

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


def test_one_seed_is_the_paired_bootstrap_alone() -> None:
    a, b = sampled({0: 0.53}, seed=1), sampled({0: 0.50}, seed=2)
    found = difference(a, b)
    error = (a.resamples[0] - b.resamples[0]).std(ddof=1)
    assert error == pytest.approx(0.002 * math.sqrt(2), rel=0.05)  # what they share is gone
    assert found.p[0] == pytest.approx(2 * scipy.stats.norm.sf(0.03 / error))
    assert (found.low[0], found.high[0]) == pytest.approx(
        (0.03 - 1.96 * error, 0.03 + 1.96 * error), rel=1e-3
    )
    assert found.n == 1


def test_without_variance_over_images_seeds_are_a_t_test_with_pooled_variance() -> None:
    a, b = {0: 0.62, 1: 0.65, 2: 0.63}, {0: 0.58, 1: 0.61}
    still = {"spread": 0.0, "own": 0.0}
    found = difference(sampled(a, **still), sampled(b, **still))
    reference = scipy.stats.ttest_ind(list(a.values()), list(b.values()), equal_var=True)
    assert found.p[0] == pytest.approx(reference.pvalue)
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
    for of_entry in values:
        mean = sum(of_entry.values()) / len(of_entry)
        squares += sum((v - mean) ** 2 for v in of_entry.values())
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
    noise = seed_noise(own)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        mean = sum(values[a].values()) / len(values[a]) - sum(values[b].values()) / len(values[b])
        by_draw = [
            sum(r[k] for r in resampled[a].values()) / len(resampled[a])
            - sum(r[k] for r in resampled[b].values()) / len(resampled[b])
            for k in range(draws)
        ]
        middle = sum(by_draw) / draws
        over_images = sum((d - middle) ** 2 for d in by_draw) / (draws - 1)
        over_seeds = pooled / len(values[a]) + pooled / len(values[b])
        error = math.sqrt(over_images + over_seeds)
        degrees = freedom * (over_images + over_seeds) ** 2 / over_seeds**2  # Satterthwaite's
        margin = scipy.stats.t.ppf(0.975, degrees) * error
        found = compare(own[a], own[b], noise)
        assert found is not None
        assert found.mean[0] == pytest.approx(mean)
        assert (found.low[0], found.high[0]) == pytest.approx((mean - margin, mean + margin))
        assert found.p[0] == pytest.approx(2 * scipy.stats.t.sf(abs(mean) / error, degrees))


def test_other_entries_lend_their_seeds_variance() -> None:
    still = {"spread": 0.0, "own": 0.0}
    entries = [{0: 0.6, 1: 0.62}, {0: 0.5, 1: 0.53}, {0: 0.4, 1: 0.41}, {0: 0.3}]
    noise = seed_noise([sampled(e, **still) for e in entries])
    variances = [np.var(list(e.values()), ddof=1) for e in entries[:3]]
    assert (noise.variance[0], noise.freedom[0]) == (pytest.approx(np.mean(variances)), 3)
    found = difference(*(sampled(entries[k], **still) for k in (0, 3, 1, 2)))
    error = math.sqrt(np.mean(variances) * (1 / 2 + 1))
    assert found.p[0] == pytest.approx(2 * scipy.stats.t.sf(0.31 / error, 3))


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
    found = score_of(a, seed_noise([a]))
    images = np.var((a.resamples[0] + a.resamples[1]) / 2, ddof=1)
    seeds = np.var([0.52, 0.54], ddof=1) / 2
    margin = scipy.stats.t.ppf(0.975, (images + seeds) ** 2 / seeds**2) * math.sqrt(images + seeds)
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
    assert 4 <= rejected <= 36  # 20 expected; binomial, 3.7 deviations


def test_other_images_are_not_compared() -> None:
    a, b = sampled({0: 0.5}), sampled({0: 0.5}, images="others")
    assert compare(a, b, seed_noise([a, b])) is None


def test_equals_are_equal() -> None:
    found = difference(sampled({0: 0.5}), sampled({0: 0.5}))
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
                store_resamples(resamples_path(folder, f"{method}{seed}", ""), made)
            info = {"supervision": "M" if method == "bound" else "I"}
            cells.append(CellRecord(**where, status="done", method_info=info).as_dict())
    return Run(records_frame(records), cells, folder)


def test_scores_against_another_ground_truth_are_not_compared(tmp_path: Path) -> None:
    """One artifact scored twice: both resamples are kept, and the two entries are not held against each other."""
    rng = np.random.default_rng(4)
    records, cells = [], []
    other = "dataset.ground_truth=coco_stuff"
    for method, changes, value in (("a", "", 0.4), ("a", other, 0.7), ("b", "", 0.2), ("c", "", 0.4)):
        where = {"dataset": "coco2014", "method": method, "scale": "nano", "protocol": "paper",
                 "refiner": "own", "segmenter": "own", "seed": 0, "changes": changes}  # fmt: skip
        score = {"stage": "cam", "variant": "fixed", "split": "train", "key": f"{method}123"}
        records.append(Record(**where, **score, metric="miou", value=value))
        records += [Record(**where, **score, metric="iou", class_name=c, value=value) for c in LABELS]
        own = value + rng.normal(0, 0.01, 200)
        path = resamples_path(tmp_path, f"{method}123", "fixed", data_changes(changes, "coco2014"))
        store_resamples(path, Resamples(own, np.stack([own, own], axis=1), LABELS, "images"))
        cells.append(CellRecord(**where, status="done", method_info={"supervision": "I"}).as_dict())
    run = Run(records_frame(records), cells, tmp_path)
    found = significance(run, leaderboard(run.records, run.cells))
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
