"""Confusion counts against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.evaluation.confusion import (
    context_regions,
    extend_with_context,
    fold_ignored,
    merge_context,
    pair_counts,
)
from datasets.base import ContextClass
from tests.helpers.evaluation_data import CONTEXTS, blocky, confusion_matrices

GT, PRED = 5, 4


def loop_counts(ground_truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The definition: one pixel at a time; column PRED counts predicted 255."""
    counts = np.zeros((len(ground_truth), GT, PRED + 1), np.int64)
    for n in range(len(ground_truth)):
        for g, p in zip(ground_truth[n].ravel().tolist(), prediction[n].ravel().tolist()):
            if g != 255:
                counts[n, g, PRED if p == 255 else p] += 1
    return counts


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(0, 4), st.integers(1, 7), st.integers(1, 7)))
    truth = hnp.arrays(np.uint8, shape, elements=st.sampled_from([*range(GT), 255]))
    predicted = hnp.arrays(np.uint8, shape, elements=st.sampled_from([*range(PRED), 255]))
    return draw(truth), draw(predicted)


@given(batches())
def test_counts_equal_the_loop(batch: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(pair_counts(*batch, GT, PRED), loop_counts(*batch))


@pytest.mark.parametrize("block", [1, 2, 5, 40], ids=lambda b: f"block{b}")
def test_runs_and_noise_are_counted_alike(block: int) -> None:
    rng = np.random.default_rng(block)
    truth = np.stack([blocky(rng, (40, 50), [*range(GT), 255], block) for _ in range(3)])
    predicted = np.stack([blocky(rng, (40, 50), [*range(PRED), 255], block) for _ in range(3)])
    np.testing.assert_array_equal(pair_counts(truth, predicted, GT, PRED), loop_counts(truth, predicted))


def test_a_run_does_not_cross_images() -> None:
    maps = np.zeros((3, 2, 2), np.uint8)
    assert confusion_matrices(maps, maps, 1, 1).tolist() == [[[4]], [[4]], [[4]]]


def test_predicted_255_is_background_and_ground_truth_255_is_nothing() -> None:
    truth = np.array([[[0, 1, 255]]], np.uint8)
    predicted = np.array([[[255, 255, 255]]], np.uint8)
    counts = pair_counts(truth, predicted, 2, 2)
    assert counts[0, :, -1].tolist() == [1, 1]
    assert fold_ignored(counts)[0].tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(("truth", "predicted", "name"), [(2, 0, "ground truth"), (0, 7, "prediction")])
@pytest.mark.parametrize("tile", [1, 400], ids=["noise", "runs"])
def test_ids_out_of_range_are_named(truth: int, predicted: int, name: str, tile: int) -> None:
    maps = (np.full((1, 1, tile), value, np.uint8) for value in (truth, predicted))
    with pytest.raises(ValueError, match=rf"id {truth or predicted} in the {name} is not in 0\.\.1"):
        confusion_matrices(*maps, 2, 2)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\).*\(1, 2, 3\)"):
        confusion_matrices(np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8), 2, 2)


def test_context_marks_background_only_and_merges_back() -> None:
    mask = np.array([[0, 0, 0, 1, 255]], np.uint8)
    regions = np.array([[0, 1, 2, 1, 1]], np.uint8)
    extended = extend_with_context(mask, regions, CONTEXTS, classes=3)
    assert extended.tolist() == [[0, 4, 5, 1, 255]]
    predicted = np.array([[0, 1, 3, 1, 1]], np.uint8)
    merged = merge_context(confusion_matrices(extended[None], predicted[None], 6, 4)[0], classes=3)
    np.testing.assert_array_equal(merged, confusion_matrices(mask[None], predicted[None], 4, 4)[0])


def test_contexts_of_one_region_share_its_row() -> None:
    shared = (ContextClass("water", 0, 7), ContextClass("sky", 2, 9), ContextClass("water", 1, 7))
    assert context_regions(shared) == [0, 1, 0]
    mask = np.zeros((1, 2), np.uint8)
    assert extend_with_context(mask, np.array([[7, 9]], np.uint8), shared, 3).tolist() == [[4, 5]]


def test_ids_must_fit_eight_bits() -> None:
    with pytest.raises(ValueError, match="8 bits"):
        extend_with_context(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), CONTEXTS, 253)
