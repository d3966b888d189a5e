"""Scores from confusion matrices: golden values, and what must not change them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.evaluation.confusion import extend_with_context, merge_context
from benchmark.evaluation.scores import (
    Naming,
    absent_classes,
    class_iou,
    confusion_ratios,
    false_alarms,
    mean_iou,
    metric_rows,
    pixel_accuracy,
    precision,
    recall,
)
from tests.conftest import golden
from tests.helpers.evaluation_data import CONTEXTS, confusion_matrices

CLASSES = 4
matrix_batches = hnp.arrays(np.int64, (5, CLASSES, CLASSES), elements=st.integers(0, 10**6))


def test_golden() -> None:
    expected = golden("miou")
    classes = len(expected["class_iou"])
    truth, predicted = (expected[name].astype(np.uint8) for name in ("ground_truth", "prediction"))
    total = confusion_matrices(truth, predicted, classes, classes).sum(0)
    np.testing.assert_array_equal(class_iou(total), expected["class_iou"])
    assert mean_iou(total) == expected["mean_iou"]
    assert pixel_accuracy(total) == expected["pixel_accuracy"]


def test_against_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 3, 255], size=300)
    predicted = rng.integers(0, CLASSES, size=300)
    matrix = confusion_matrices(truth[None].astype(np.uint8), predicted[None].astype(np.uint8), 4, 4)[0]
    for c in range(CLASSES):
        scored = {i for i in range(300) if truth[i] != 255}
        truly = {i for i in scored if truth[i] == c}
        found = {i for i in scored if predicted[i] == c}
        assert class_iou(matrix)[c] == len(truly & found) / len(truly | found)
        assert precision(matrix)[c] == len(truly & found) / len(found)
        assert recall(matrix)[c] == len(truly & found) / len(truly)


@given(matrix_batches, st.permutations(range(5)), st.integers(0, 5))
def test_order_of_images_and_shards_do_not_matter(matrices: np.ndarray, order: list[int], cut: int) -> None:
    total = matrices.sum(0)
    for other in (matrices[order].sum(0), matrices[:cut].sum(0) + matrices[cut:].sum(0)):
        for score in (class_iou, mean_iou, pixel_accuracy, precision, recall):
            np.testing.assert_array_equal(score(total), score(other))


@given(matrix_batches)
def test_ranges_and_batches(matrices: np.ndarray) -> None:
    for score in (class_iou, mean_iou, pixel_accuracy, precision, recall):
        values = score(matrices)
        assert np.all(np.isnan(values) | ((values >= 0) & (values <= 1)))
        np.testing.assert_array_equal(values, np.stack([score(matrix) for matrix in matrices]))


@given(hnp.arrays(np.uint8, (2, 6, 6), elements=st.integers(0, 3)), st.integers(0, 3))
def test_ignored_pixels_do_not_count(truth: np.ndarray, filler: int) -> None:
    predicted = np.roll(truth, 1, axis=2)
    ignored = truth.copy()
    ignored[:, :2] = 255
    with_ignored = confusion_matrices(ignored, predicted, 4, 4)
    cropped = confusion_matrices(truth[:, 2:], predicted[:, 2:], 4, 4)
    np.testing.assert_array_equal(with_ignored, cropped)
    predicted[:, :2] = filler
    np.testing.assert_array_equal(confusion_matrices(ignored, predicted, 4, 4), cropped)


def test_a_class_without_truth_is_left_out_and_what_is_predicted_as_it_is_a_false_alarm() -> None:
    matrix = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(class_iou(matrix), [6 / 8, np.nan, np.nan])
    assert mean_iou(matrix) == 6 / 8
    assert false_alarms(matrix) == 2 / 8
    assert absent_classes(matrix, ["background", "boat", "train"]) == ("boat", "train")
    np.testing.assert_array_equal(precision(matrix), [1, 0, np.nan])
    np.testing.assert_array_equal(recall(matrix), [6 / 8, np.nan, np.nan])


@given(matrix_batches, st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1))
def test_a_single_pixel_of_an_absent_class_costs_next_to_nothing(
    matrices: np.ndarray, absent: int, taken: int
) -> None:
    """It costs what it takes from the class that it is of."""
    matrix = matrices.sum(0)
    matrix[absent] = matrix[:, absent] = 0
    if taken == absent or not matrix[taken, taken]:
        return
    wrong = matrix.copy()
    wrong[taken, [taken, absent]] += [-1, 1]
    assert 0 <= mean_iou(matrix) - mean_iou(wrong) <= 1 / matrix[taken].sum()
    assert false_alarms(wrong) == pytest.approx(1 / matrix.sum())
    assert false_alarms(matrix) == 0


def test_nothing_scored_is_nan_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = np.zeros((3, 3), np.int64)
        assert np.isnan(mean_iou(empty))
        assert np.isnan(pixel_accuracy(empty))


def test_confusion_ratio_is_false_positives_in_the_region_over_true_positives() -> None:
    extended = np.zeros((6, 4), np.int64)
    extended[1, 1] = 40  # boat found
    extended[4, 1] = 30  # water taken for boat
    extended[4, 2] = 99  # water taken for a train: no part of boat|water
    extended[0, 1] = 99  # other background taken for boat: neither
    extended[5, 2] = 8  # rails taken for a train, no train found
    ratios = confusion_ratios(extended, CONTEXTS, classes=3)
    np.testing.assert_array_equal(ratios, [30 / 40, np.nan])
    np.testing.assert_array_equal(confusion_ratios(extended[None], CONTEXTS, 3), [ratios])


extended_batches = hnp.arrays(np.int64, (5, 6, 4), elements=st.integers(0, 10**6))


@given(extended_batches, st.permutations(range(5)), st.integers(0, 5))
def test_confusion_ratios_of_shards_and_of_any_order(
    matrices: np.ndarray, order: list[int], cut: int
) -> None:
    expected = confusion_ratios(matrices.sum(0), CONTEXTS, 3)
    np.testing.assert_array_equal(confusion_ratios(matrices[order].sum(0), CONTEXTS, 3), expected)
    merged = matrices[:cut].sum(0) + matrices[cut:].sum(0)
    np.testing.assert_array_equal(confusion_ratios(merged, CONTEXTS, 3), expected)
    found = matrices[:, range(4), range(4)].sum(0)  # the context of all images is labelled
    np.testing.assert_array_equal(confusion_ratios(merged, CONTEXTS, 3, found), expected)


def ratios_of_maps(truth: np.ndarray, regions: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    extended = extend_with_context(truth, regions, CONTEXTS, 3)
    return confusion_ratios(confusion_matrices(extended, predicted, 6, 4).sum(0), CONTEXTS, 3)


some_pixels = (2, 3, 5)


@given(
    hnp.arrays(np.uint8, some_pixels, elements=st.integers(0, 3)),
    hnp.arrays(np.uint8, some_pixels, elements=st.integers(0, 2)),
    hnp.arrays(np.uint8, some_pixels, elements=st.integers(0, 3)),
    hnp.arrays(np.bool_, some_pixels),
    st.integers(0, 3),
)
def test_ignored_pixels_do_not_change_the_confusion_ratio(
    truth: np.ndarray, regions: np.ndarray, predicted: np.ndarray, ignored: np.ndarray, filler: int
) -> None:
    """They count as if they were cut out, whatever is predicted there and whatever region they lie in."""
    kept = [maps[~ignored][None, None] for maps in (truth, regions, predicted)]
    expected = ratios_of_maps(*kept)
    truth = np.where(ignored, np.uint8(255), truth)
    np.testing.assert_array_equal(ratios_of_maps(truth, regions, predicted), expected)
    for other in (np.where(ignored, np.uint8(filler % 3), regions), np.zeros_like(regions)):
        refilled = np.where(ignored, np.uint8(filler), predicted)
        changed = np.where(ignored, other, regions)
        np.testing.assert_array_equal(ratios_of_maps(truth, changed, refilled), expected)


@given(extended_batches, st.integers(0, 4))
def test_images_without_context_labels_do_not_dilute_the_ratio(matrices: np.ndarray, labelled: int) -> None:
    """Their context rows are empty, and their true positives are left out."""
    unlabelled = matrices.copy()
    unlabelled[labelled:, 4:] = 0
    found = unlabelled[:labelled, range(4), range(4)].sum(0)
    np.testing.assert_array_equal(
        confusion_ratios(unlabelled.sum(0), CONTEXTS, 3, found),
        confusion_ratios(matrices[:labelled].sum(0), CONTEXTS, 3),
    )


@given(matrix_batches, st.integers(0, CLASSES))
def test_a_class_that_is_nowhere_changes_no_other_score(matrices: np.ndarray, place: int) -> None:
    wider = np.insert(np.insert(matrices, place, 0, axis=1), place, 0, axis=2)
    for score in (class_iou, precision, recall):
        np.testing.assert_array_equal(np.delete(score(wider), place, -1), score(matrices))
        assert np.isnan(score(wider)[:, place]).all()
    np.testing.assert_allclose(mean_iou(wider), mean_iou(matrices), rtol=1e-12)
    np.testing.assert_array_equal(pixel_accuracy(wider), pixel_accuracy(matrices))


def test_rows_name_classes_and_contexts() -> None:
    extended = np.arange(24).reshape(6, 4)
    rows = metric_rows(
        extended,
        Naming("background", ("boat", "train", "bird"), CONTEXTS),
        lambda metric, value, class_name="": (metric, class_name, value),  # type: ignore[arg-type, return-value]
    )
    values = {(metric, name): value for metric, name, value in rows}  # type: ignore[misc]
    matrix = merge_context(extended, 3)
    assert values["miou", ""] == mean_iou(matrix)
    assert values["iou", "background"] == class_iou(matrix)[0]
    assert values["recall", "bird"] == recall(matrix)[3]
    assert values["confusion_ratio", "boat|water"] == pytest.approx(17 / 5)
    assert len(values) == 2 + 3 * 4 + 2
