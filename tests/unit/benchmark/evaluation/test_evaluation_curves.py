"""Threshold curves against the definition, one threshold and one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmark.evaluation.curves import (
    ThresholdBins,
    cam_counts,
    highest_class,
    matrices_at_thresholds,
    threshold_grid,
)
from methods.artifacts import Cam
from tests.helpers.evaluation_data import blocky

CLASSES = 3
GRID = threshold_grid(0.01)


def histogram_of(cam: Cam, truth: np.ndarray, thresholds: np.ndarray, gt_classes: int) -> np.ndarray:
    histogram = np.zeros((gt_classes, CLASSES + 1, len(thresholds) + 1), np.int64)
    counts = cam_counts(cam, truth, ThresholdBins(thresholds))
    np.add.at(histogram, (counts.gt, counts.pred, counts.bin), counts.pixels)
    return histogram


def loop_matrix(cam: Cam, truth: np.ndarray, threshold: float, gt_classes: int) -> np.ndarray:
    """The definition: foreground iff the highest score is above the threshold; ties go to background."""
    maps = [torch.from_numpy(map_).float()[None, None] for map_ in cam.maps]
    scores = [F.interpolate(m, cam.size, mode="bilinear", align_corners=False)[0, 0] for m in maps]
    matrix = np.zeros((gt_classes, CLASSES + 1), np.int64)
    for y in range(cam.size[0]):
        for x in range(cam.size[1]):
            if truth[y, x] == 255:
                continue
            predicted, best = 0, threshold
            for k, c in enumerate(cam.classes):
                if scores[k][y, x].item() > best:
                    predicted, best = c + 1, scores[k][y, x].item()
            matrix[truth[y, x], predicted] += 1
    return matrix


@st.composite
def cams(draw: st.DrawFn) -> tuple[Cam, np.ndarray]:
    classes = draw(st.lists(st.integers(0, CLASSES - 1), unique=True, max_size=CLASSES))
    height, width = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    # multiples of 1/8 make scores that equal a threshold, and each other, common
    eighths = hnp.arrays(np.int64, (len(classes), height, width), elements=st.integers(0, 8))
    maps = (draw(eighths) / 8).astype(np.float16)
    truth = draw(hnp.arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, 3, 4, 255])))
    return Cam(maps, tuple(classes), size), truth


@given(cams())
def test_matrices_at_all_thresholds_equal_the_loop(case: tuple[Cam, np.ndarray]) -> None:
    thresholds = threshold_grid(0.125, 0.3)
    matrices = matrices_at_thresholds(histogram_of(*case, thresholds, gt_classes=5))
    for threshold, matrix in zip(thresholds.tolist(), matrices):
        np.testing.assert_array_equal(matrix, loop_matrix(*case, threshold, gt_classes=5))


def test_a_realistic_image_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    cam = Cam(rng.random((2, 6, 8)).astype(np.float16), (0, 2), (33, 41))
    truth = blocky(rng, cam.size, [0, 1, 3, 4, 255], 7)
    matrices = matrices_at_thresholds(histogram_of(cam, truth, GRID, 5))
    for j in (0, 1, 20, 59, 100):
        np.testing.assert_array_equal(matrices[j], loop_matrix(cam, truth, GRID[j].item(), 5))


def test_a_score_equal_to_the_threshold_is_background() -> None:
    cam = Cam(np.full((1, 1, 1), 0.5, np.float16), (1,), (2, 2))
    matrices = matrices_at_thresholds(histogram_of(cam, np.full((2, 2), 2, np.uint8), GRID, 4))
    assert matrices[49, 2].tolist() == [0, 0, 4, 0]
    assert matrices[50, 2].tolist() == [4, 0, 0, 0]


def test_of_equal_maps_the_first_wins() -> None:
    maps = np.full((3, 2, 2), 0.5, np.float16)
    maps[0] = 0.25
    _, winner = highest_class(Cam(maps, (0, 1, 2), (4, 4)))
    assert (winner == 1).all()


def test_an_image_without_classes_is_background() -> None:
    truth = np.array([[0, 2, 255]], np.uint8)
    cam = Cam(np.zeros((0, 1, 1), np.float16), (), (1, 3))
    matrices = matrices_at_thresholds(histogram_of(cam, truth, GRID, 4))
    assert (matrices[:, [0, 2], 0] == 1).all()
    assert matrices.sum() == 2 * len(GRID)


def test_the_grid_includes_other_thresholds_once() -> None:
    assert len(GRID) == 101
    assert threshold_grid(0.01, 0.4).tolist() == GRID.tolist()
    assert len(threshold_grid(0.01, 0.405)) == 102


@given(
    hnp.arrays(np.float32, (200,), elements=st.floats(0, 1, width=32)),
    st.lists(st.floats(0, 1, width=32), max_size=5),
)
def test_bins_equal_binary_search(scores: np.ndarray, extra: list[float]) -> None:
    thresholds = threshold_grid(0.01, *extra)
    near = np.nextafter(thresholds, np.float32(2)), np.nextafter(thresholds, np.float32(0)), thresholds
    scores = np.concatenate([scores, *near])
    expected = np.searchsorted(thresholds, scores, side="left")
    np.testing.assert_array_equal(ThresholdBins(thresholds)(scores), expected)


@pytest.mark.parametrize("total", [0, 7])
def test_every_pixel_is_somewhere_at_every_threshold(total: int) -> None:
    histogram = np.zeros((2, 3, 6), np.int64)
    histogram[1, 2, 3] = total
    assert (matrices_at_thresholds(histogram).sum((1, 2)) == total).all()
