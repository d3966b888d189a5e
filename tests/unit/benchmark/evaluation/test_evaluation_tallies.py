"""Scores of subsets, by loops over images and pixels; tallies of shards add up; ignored pixels, absent classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.evaluation.boundary import boundary_counts
from benchmark.evaluation.scores import MetricRow
from benchmark.evaluation.tallies import CLASS_COUNTS, SIZE_LIMITS, SIZES, Tally
from tests.helpers.evaluation_data import confusion_matrices

CLASSES = 4
row = partial(MetricRow, "segmentation", "", "val", images=99)
truths = hnp.arrays(
    np.uint8, (5, 6, 6), elements=st.sampled_from([0] * 20 + [1] * 6 + [2, 2, 3, 255]), unique=False
)
predictions = hnp.arrays(np.uint8, (5, 6, 6), elements=st.sampled_from([0, 0, 0, 1, 2, 4, 255]))


def tally_of(truth: np.ndarray, prediction: np.ndarray) -> Tally:
    tally = Tally(CLASSES)
    matrices = confusion_matrices(truth, prediction, CLASSES + 1, CLASSES + 1)
    for matrix, boundary in zip(matrices, boundary_counts(truth, prediction, 0.2)):
        tally.add(matrix, boundary)
    return tally


def scores(tally: Tally) -> dict[tuple[str, str], tuple[float, int]]:
    return {(r.metric, r.class_name): (r.value, r.images) for r in tally.rows(row)}


def assert_same(a: Tally, b: Tally) -> None:
    assert scores(a).keys() == scores(b).keys()
    for name, expected in scores(a).items():
        np.testing.assert_array_equal(scores(b)[name], expected, err_msg=str(name))


def subsets_loop(
    truths: Sequence[np.ndarray], predictions: Sequence[np.ndarray]
) -> dict[tuple[str, str], tuple[float, int]]:
    """The definition: (metric, subset) -> (mIoU, images)."""
    iou: dict[tuple[str, str], dict[int, list[int]]] = {}
    images: dict[tuple[str, str], set[int]] = {}
    for number, (truth, prediction) in enumerate(zip(truths, predictions, strict=True)):
        pixels = [
            (int(t), 0 if p == 255 else int(p)) for t, p in zip(truth.flat, prediction.flat) if t != 255
        ]
        if not pixels:
            continue
        present = sorted({t for t, _ in pixels} - {0})
        count = ("miou_by_class_count", "3+" if len(present) >= 3 else str(len(present)))
        subsets = [(count, c) for c in range(CLASSES + 1)]
        for c in present:
            share = sum(t == c for t, _ in pixels) / len(pixels)
            size = "small" if share < 0.1 else "medium" if share < 0.25 else "large"
            subsets.append((("miou_by_size", size), c))
        for name, c in subsets:
            images.setdefault(name, set()).add(number)
            both, union, true = iou.setdefault(name, {}).setdefault(c, [0, 0, 0])
            both += sum(t == p == c for t, p in pixels)
            union += sum(c in (t, p) for t, p in pixels)
            true += sum(t == c for t, _ in pixels)
            iou[name][c] = [both, union, true]
    found = {}
    for name, classes in iou.items():
        kept = [both / union for both, union, true in classes.values() if true]
        found[name] = (sum(kept) / len(kept), len(images[name]))
    return found


@given(truths, predictions)
def test_subsets_are_those_of_the_definition(truth: np.ndarray, prediction: np.ndarray) -> None:
    found = {k: v for k, v in scores(tally_of(truth, prediction)).items() if not k[0].startswith("boundary")}
    expected = subsets_loop([*truth], [*prediction])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12)


@given(truths, predictions, st.permutations(range(5)), st.integers(0, 5))
def test_order_of_images_and_shards_do_not_matter(
    truth: np.ndarray, prediction: np.ndarray, order: list[int], cut: int
) -> None:
    whole = tally_of(truth, prediction)
    assert_same(whole, tally_of(truth[order], prediction[order]))
    merged = tally_of(truth[:cut], prediction[:cut])
    merged += tally_of(truth[cut:], prediction[cut:])
    assert_same(whole, merged)


@given(truths, predictions, st.integers(0, CLASSES))
def test_predictions_on_ignored_pixels_do_not_change_subsets(
    truth: np.ndarray, prediction: np.ndarray, filler: int
) -> None:
    other = np.where(truth == 255, np.uint8(filler), prediction)
    for metric in ("miou_by_size", "miou_by_class_count"):
        one, two = (
            {k: v for k, v in scores(tally_of(truth, p)).items() if k[0] == metric}
            for p in (prediction, other)
        )
        assert one == two


def test_a_picture_by_hand() -> None:
    """100 pixels: a region of 9 (small), one of 10 (medium), one of 25 (large); half of each is found."""
    truth = np.repeat(np.array([1, 2, 3, 0], np.uint8), [9, 10, 25, 56]).reshape(1, 10, 10)
    found = truth.reshape(-1).copy()
    found[[0, 1, 2]] = 0  # 6 of 9
    found[9:14] = 0  # 5 of 10
    found[19:24] = 4  # 20 of 25, taken for a class that is not there
    tally = scores(tally_of(truth, found.reshape(1, 10, 10)))
    assert tally["miou_by_size", "small"] == (pytest.approx(6 / 9), 1)
    assert tally["miou_by_size", "medium"] == (pytest.approx(5 / 10), 1)
    assert tally["miou_by_size", "large"] == (pytest.approx(20 / 25), 1)
    background = 56 / (56 + 3 + 5)
    expected = (background + 6 / 9 + 5 / 10 + 20 / 25) / 4
    assert tally["miou_by_class_count", "3+"] == (pytest.approx(expected), 1)
    assert ("miou_by_class_count", "1") not in tally
    assert len(SIZES) == len(SIZE_LIMITS) + 1
    assert len(CLASS_COUNTS) == 4


def test_images_of_background_or_of_nothing_scored() -> None:
    nothing = np.full((1, 4, 4), 255, np.uint8)
    empty = scores(tally_of(nothing, np.ones((1, 4, 4), np.uint8)))
    assert {name for name, _ in empty} == {"boundary_recall", "boundary_precision", "boundary_f1"}
    assert all(math.isnan(value) for value, _ in empty.values())
    background = scores(tally_of(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)))
    assert background["miou_by_class_count", "0"] == (1.0, 1)
    false_alarm = np.zeros((1, 4, 4), np.uint8)
    false_alarm[0, 0, 0] = 3
    assert scores(tally_of(np.zeros((1, 4, 4), np.uint8), false_alarm))["miou_by_class_count", "0"] == (
        15 / 16,
        1,
    )
