"""Boundary scores: loops over pixels, fixed cases, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import maximum_filter

from benchmark.evaluation.boundary import boundaries, boundary_counts, boundary_scores, fill_rims
from tests.helpers.evaluation_data import blocky
from tests.unit.loop_references.boundary import boundary_counts_loop

TOLERANCE = 0.2
"""Of the diagonals of pictures of a dozen pixels: a radius of two to three."""

sizes = st.tuples(st.integers(2, 12), st.integers(2, 12))
label_maps = sizes.flatmap(
    lambda size: st.tuples(
        hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 0, 0, 1, 2, 255])),
        hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 0, 1, 2])),
    )
)


@given(label_maps)
def test_counts_are_those_of_the_definition(maps: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = maps
    assert boundary_counts(truth[None], prediction[None], TOLERANCE)[0].tolist() == boundary_counts_loop(
        truth, prediction, TOLERANCE
    )


@pytest.mark.parametrize("seed", range(4))
def test_rims_of_255_as_voc_draws_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = blocky(rng, (20, 22), (0, 0, 1, 2), 7)
    rim = boundaries(truth[None], np.ones((1, *truth.shape), np.bool_))[0]
    rim = maximum_filter(rim, 3)
    void = np.where(rim, np.uint8(255), truth)
    prediction = np.roll(truth, seed, 1)
    counted = boundary_counts(void[None], prediction[None], 0.12)[0]
    assert counted.tolist() == boundary_counts_loop(void, prediction, 0.12)
    assert counted[1] > 0
    perfect = boundary_counts(void[None], truth[None], 0.12)[0]
    assert (
        boundary_scores(perfect)[2] > 0.85
    )  # the middle of the rim is where the boundary was, corners apart


@given(label_maps, st.integers(0, 255))
def test_predictions_deep_in_255_do_not_count(maps: tuple[np.ndarray, np.ndarray], filler: int) -> None:
    truth, prediction = maps
    height, width = truth.shape
    radius = max(1.0, TOLERANCE * math.hypot(height, width))
    deep = fill_rims(truth[None], radius)[0] == 255
    other = np.where(deep, np.uint8(filler), prediction)
    np.testing.assert_array_equal(
        boundary_counts(truth[None], prediction[None], TOLERANCE),
        boundary_counts(truth[None], other[None], TOLERANCE),
    )


@given(hnp.arrays(np.uint8, (4, 7, 9), elements=st.sampled_from([0, 1, 2, 255])), st.permutations(range(4)))
def test_a_batch_is_its_images(truths: np.ndarray, order: list[int]) -> None:
    predictions = np.where(np.roll(truths, 1, 2) == 255, 0, np.roll(truths, 1, 2)).astype(np.uint8)
    batch = boundary_counts(truths, predictions, TOLERANCE)
    alone = [boundary_counts(t[None], p[None], TOLERANCE)[0] for t, p in zip(truths, predictions)]
    np.testing.assert_array_equal(batch, alone)
    np.testing.assert_array_equal(boundary_counts(truths[order], predictions[order], TOLERANCE), batch[order])


@given(label_maps, st.floats(0.01, 0.3), st.floats(1, 2))
def test_a_wider_tolerance_finds_no_less(
    maps: tuple[np.ndarray, np.ndarray], tolerance: float, factor: float
) -> None:
    truth, prediction = (np.where(m == 255, 0, m).astype(np.uint8)[None] for m in maps)
    narrow, wide = (boundary_counts(truth, prediction, t)[0] for t in (tolerance, tolerance * factor))
    assert np.all(narrow <= wide)
    assert np.all(narrow[[0, 2]] <= narrow[[1, 3]])
    np.testing.assert_array_equal(narrow[[1, 3]], wide[[1, 3]])


@given(label_maps)
def test_names_of_classes_do_not_matter_and_a_perfect_map_has_1(maps: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = maps
    names = np.arange(256, dtype=np.uint8)
    names[[0, 1, 2]] = [2, 0, 1]
    np.testing.assert_array_equal(
        boundary_counts(names[truth][None], names[prediction][None], TOLERANCE),
        boundary_counts(truth[None], prediction[None], TOLERANCE),
    )
    plain = np.where(truth == 255, 0, truth)[None]
    hit, true, right, predicted = boundary_counts(plain, plain, TOLERANCE)[0]
    assert hit == true == right == predicted


def test_a_shifted_square_by_hand() -> None:
    """A square whose prediction lies a pixel, then three pixels to the right; the radius is one pixel."""
    truth, shifted, far = (np.zeros((30, 40), np.uint8) for _ in range(3))
    truth[10:20, 10:20] = shifted[10:20, 11:21] = far[10:20, 13:23] = 3
    assert boundary_scores(boundary_counts(truth[None], shifted[None], 0.001)[0]) == (1.0, 1.0, 1.0)
    found, true, right, predicted = boundary_counts(truth[None], far[None], 0.001)[0]
    # inner ring of a square of 10: 36 pixels; outer ring without corners: 40
    assert true == predicted == 76
    assert found == right == boundary_counts_loop(truth, far, 0.001)[0] == 40


def scores_of(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float, float]:
    return boundary_scores(boundary_counts(truth[None], prediction[None])[0])


def disc() -> tuple[np.ndarray, np.ndarray]:
    """A disc with a radius of 80 in a picture of VOC's size, and its pixels' distances from the centre."""
    y, x = np.mgrid[:375, :500]
    distance = np.hypot(y - 187, x - 250)
    return (distance < 80).astype(np.uint8), distance


def test_a_thin_ring_is_no_disc() -> None:
    """Of a ring of three pixels along the contour one side is right at most: half of what is drawn."""
    truth, distance = disc()
    ring = ((distance < 80) & (distance >= 77)).astype(np.uint8)
    recall, precision, f1 = scores_of(truth, ring)
    assert recall == 1
    assert 0.45 < precision < 0.55
    assert f1 < 0.72


def test_salt_along_a_contour_does_not_find_it() -> None:
    """Every pixel that is drawn is near the contour, and there are several for each of its pixels."""
    truth, distance = disc()
    salt = (np.random.default_rng(0).random(truth.shape) < 0.3) & (np.abs(distance - 80) < 4)
    recall, precision, _ = scores_of(truth, np.where(salt, 1 - truth, truth).astype(np.uint8))
    assert recall == 1
    assert precision < 0.4


def test_the_shared_side_of_two_objects_is_matched_once() -> None:
    """Two contours a pixel apart have one pixel for each of the other map's, not two."""
    one, two = (np.zeros((40, 60), np.uint8) for _ in range(2))
    one[:, 30:] = 1
    two[:, 29:] = 1
    two[:, 31:] = 0
    counts = boundary_counts(one[None], two[None], 0.04)[0]
    assert counts.tolist() == [80, 80, 80, 160]
    assert counts.tolist() == boundary_counts_loop(one, two, 0.04)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((3, 4, 3, 6), (0.75, 0.5, 0.6)),
        ((0, 4, 0, 6), (0.0, 0.0, 0.0)),
        ((0, 4, 0, 0), (0.0, math.nan, 0.0)),
        ((0, 0, 0, 6), (math.nan, 0.0, 0.0)),
        ((0, 0, 0, 0), (math.nan, math.nan, math.nan)),
    ],
)
def test_recall_precision_and_f1(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(boundary_scores(np.array(counts)), expected)
