"""AUPRO against anomalib and a loop, rates and AUROC against loops, defects one by one, and what changes none of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.evaluation.inspection.aupro import RegionOverlap, aupro, regions
from benchmark.evaluation.inspection.defects import FOUND, defects_in, regions_marked, size_of
from benchmark.evaluation.inspection.foreground import LEVELS, highest, levels_of, top_mean
from benchmark.evaluation.inspection.verdicts import (
    GOOD,
    auroc,
    escapes_at,
    overkill_at,
    rates,
    rates_of,
    verdicts_of,
)
from tests.conftest import golden

SHAPE = (3, 6, 7)
score_maps = hnp.arrays(np.uint8, SHAPE, elements=st.integers(0, 9))
truths = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 0, 0, 1, 1, 2, 255]))
label_maps = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 0, 1, 2, 255]))
images = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25)


def components(mask: np.ndarray) -> Iterator[set[tuple[int, int, int]]]:
    """Connected pixels of (N, H, W), one after the other, by growing them."""
    left = {tuple(place) for place in np.argwhere(mask).tolist()}
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            n, y, x = place = edge.pop()
            region.add(place)
            near = {(n, y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        yield region  # type: ignore[misc]


def aupro_loop(scores: np.ndarray, truth: np.ndarray, limit: float = 0.3) -> float:
    """The definition: at each threshold the mean overlap of the regions and the false-positive rate."""
    parts = list(components((truth != 0) & (truth != 255)))
    normal = np.argwhere(truth == 0)
    if not parts or not len(normal):
        return math.nan
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(scores.ravel().tolist()), reverse=True):
        overlap = sum(sum(scores[p] >= threshold for p in part) / len(part) for part in parts) / len(parts)
        curve.append((sum(scores[tuple(p)] >= threshold for p in normal) / len(normal), overlap))
    area = 0.0
    for (x, y), (next_x, next_y) in pairwise(curve):
        end = min(next_x, limit)
        if end > x:
            at_end = y + (next_y - y) * (end - x) / (next_x - x)
            area += (end - x) * (y + at_end) / 2
    return area / limit


def test_aupro_is_anomalibs_on_20_cases() -> None:
    """`expected`: of anomalib 2.7.0's `AUPRO.compute_pro` at a limit of .3, in double precision."""
    cases = golden("aupro")
    assert len(cases["expected"]) == 20
    found = [aupro(scores, truth) for scores, truth in zip(cases["scores"], cases["truth"])]
    np.testing.assert_allclose(found, cases["expected"], rtol=0, atol=1e-9)


@given(score_maps, truths, st.sampled_from([0.05, 0.3, 1.0]))
def test_aupro_is_that_of_the_definition(scores: np.ndarray, truth: np.ndarray, limit: float) -> None:
    np.testing.assert_allclose(
        aupro(scores, truth, limit), aupro_loop(scores, truth, limit), rtol=0, atol=1e-9
    )


@given(score_maps, truths, st.permutations(range(SHAPE[0])))
def test_aupro_stays_where_order_scale_or_view_of_all_images_change(
    scores: np.ndarray, truth: np.ndarray, order: list[int]
) -> None:
    expected = aupro(scores, truth)
    scaled = np.exp(scores / 3.0) - 7  # only the order of scores counts
    for other, of in (
        (scores[order], truth[order]),
        (scaled, truth),
        (scores[:, ::-1, ::-1], truth[:, ::-1, ::-1]),
        (scores.transpose(0, 2, 1), truth.transpose(0, 2, 1)),
        (scores, np.where(truth == 2, np.uint8(1), truth)),
    ):
        np.testing.assert_allclose(aupro(other, of), expected, rtol=0, atol=1e-9)


@given(score_maps, truths)
def test_sums_of_shards_add_up(scores: np.ndarray, truth: np.ndarray) -> None:
    whole = RegionOverlap(10).add(scores, truth)
    parts = RegionOverlap(10)
    for k in range(len(scores)):
        parts += RegionOverlap(10).add(scores[k : k + 1], truth[k : k + 1])
    assert parts.regions == whole.regions == len(list(components((truth != 0) & (truth != 255))))
    np.testing.assert_array_equal(parts.normal, whole.normal)
    np.testing.assert_allclose(parts.area(), whole.area(), rtol=0, atol=1e-9)


def test_a_perfect_map_has_an_aupro_of_1_and_its_reverse_of_0() -> None:
    truth = np.zeros((2, 8, 8), np.uint8)
    truth[0, 2:4, 2:4] = truth[1, 5:, 1] = 1
    assert aupro(truth, truth) == pytest.approx(1)
    assert aupro(1 - truth, truth) == 0
    assert math.isnan(aupro(truth, np.zeros_like(truth)))
    assert math.isnan(aupro(truth, np.ones_like(truth)))


def test_regions_touch_by_corners_and_never_between_images() -> None:
    mask = np.zeros((2, 3, 3), bool)
    mask[:, 0, 0] = mask[:, 1, 1] = True
    assert regions(mask)[1] == 2


def auroc_loop(scores: list[int], defective: list[bool]) -> float:
    bad = [s for s, d in zip(scores, defective) if d]
    good = [s for s, d in zip(scores, defective) if not d]
    wins = sum((b > g) + (b == g) / 2 for b in bad for g in good)
    return wins / (len(bad) * len(good)) if bad and good else math.nan


@given(images)
def test_auroc_is_that_of_the_definition_and_only_order_counts(found: list[tuple[int, bool]]) -> None:
    scores, defective = np.array([s for s, _ in found], float), np.array([d for _, d in found])
    expected = auroc_loop([s for s, _ in found], [d for _, d in found])
    for values in (scores, scores**3 - 5):
        np.testing.assert_allclose(auroc(values, defective), expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(auroc(-scores, defective), 1 - expected, rtol=0, atol=1e-9)


@given(images, st.sampled_from([0.0, 0.05, 0.3, 0.5, 1.0]))
def test_rates_are_the_best_that_any_threshold_gives(
    found: list[tuple[int, bool]], given_rate: float
) -> None:
    scores, defective = np.array([s for s, _ in found], float), np.array([d for _, d in found])
    curve = rates(scores, defective)
    if curve is None:
        assert defective.all() or not defective.any()
        return
    lines = [rates_of(scores >= t, defective) for t in (*range(7), math.inf)]
    escapes, threshold = escapes_at(given_rate, curve)
    assert escapes == pytest.approx(min(e for o, e in lines if o <= given_rate + 1e-9))
    assert rates_of(scores >= threshold, defective)[1] == pytest.approx(escapes)
    assert rates_of(scores >= threshold, defective)[0] <= given_rate + 1e-9
    overkill, threshold = overkill_at(given_rate, curve)
    assert overkill == pytest.approx(min(o for o, e in lines if e <= given_rate + 1e-9))
    assert rates_of(scores >= threshold, defective) == (
        pytest.approx(overkill),
        pytest.approx(curve.escapes[curve.thresholds == threshold][0]),
    )


def test_one_of_twenty_is_five_percent() -> None:
    scores, defective = np.arange(40.0), np.arange(40) >= 20
    scores[[20, 19]] = [-1, 30.5]  # one bad image below all good ones, one good one among the bad
    curve = rates(scores, defective)
    assert curve is not None
    assert escapes_at(0.05, curve) == (0.05, 21)
    assert overkill_at(0.05, curve) == (0.05, 21)


def test_rates_of_verdicts() -> None:
    defective = np.array([True, True, True, True, False, False])
    rejected = np.array([True, True, True, False, True, False])
    assert rates_of(rejected, defective) == (0.5, 0.25)
    overkill, escapes = rates_of(rejected[:4], defective[:4])
    assert math.isnan(overkill)
    assert escapes == 0.25


def test_scores_of_images() -> None:
    maps = np.zeros((2, 50, 40), np.float32)
    maps[1, 3, 4], maps[1, 7, 7] = 0.8, 0.4
    np.testing.assert_array_equal(highest(maps), np.float32([0, 0.8]))
    np.testing.assert_allclose(top_mean(maps), [0, 0.6], rtol=1e-6)  # the highest 2 of 2000 pixels
    np.testing.assert_allclose(top_mean(maps, share=1e-9), [0, 0.8], rtol=1e-6)
    assert highest(np.zeros((1, 0, 5))) == top_mean(np.zeros((1, 0, 5))) == 0


@given(hnp.arrays(np.float32, (9,), elements=st.floats(0, 1, width=32)))
def test_levels_keep_the_order_of_probabilities(values: np.ndarray) -> None:
    values = np.sort(values)
    levels = levels_of(values)
    assert (np.diff(levels.astype(int)) >= 0).all()
    assert levels_of(np.float32([0, 0.5, 1])).tolist() == [0, LEVELS // 2, LEVELS - 1]


@given(label_maps)
def test_a_verdict_is_the_class_of_most_pixels(labels: np.ndarray) -> None:
    for said, one in zip(verdicts_of(labels, 2), labels):
        ones, twos = (one == 1).sum(), (one == 2).sum()
        assert said == (GOOD if not ones + twos else 1 if ones >= twos else 2)


@given(truths, label_maps)
def test_defects_are_those_of_the_definition(truth: np.ndarray, prediction: np.ndarray) -> None:
    expected = [
        (c, len(region) / truth[0].size, sum(prediction[p] in (1, 2) for p in region) / len(region))
        for c in (1, 2)
        for region in components(truth == c)
    ]
    found = defects_in(truth, prediction, 2)
    np.testing.assert_allclose(sorted(zip(*found)), sorted(expected) or np.zeros((0,)), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found.found, found.marked >= FOUND)
    assert regions_marked(prediction, 2) == sum(len(list(components(prediction == c))) for c in (1, 2))


def test_sizes_of_defects() -> None:
    assert size_of(np.array([0.0009, 0.001, 0.009, 0.01, 1])).tolist() == [0, 1, 1, 2, 2]
