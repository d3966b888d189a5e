"""SAM-fused pseudo-labels: the points that a CAM prompts SAM with."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.layers.sam.model import NEGATIVE, NO_POINT, POSITIVE
from methods.sam_fused.config import PromptConfig
from methods.sam_fused.prompts import cam_prompts, padded


def blobs() -> np.ndarray:
    """Two classes at 40 x 60: one with two regions of different height and a speck, one with one."""
    maps = np.zeros((2, 40, 60), np.float32)
    y, x = np.mgrid[:40, :60]
    maps[0] += 1.0 * np.exp(-((x - 12) ** 2 + (y - 10) ** 2) / 30)
    maps[0] += 0.8 * np.exp(-((x - 15) ** 2 + (y - 32) ** 2) / 30)
    maps[0, 2, 57] = 0.9
    maps[1] += 0.95 * np.exp(-((x - 45) ** 2 + (y - 20) ** 2) / 40)
    return maps


def test_positive_points_are_the_peaks_of_the_regions_highest_first() -> None:
    prompts = cam_prompts(blobs(), PromptConfig(foreground=0.5, smallest_region=0.2), 0)
    assert prompts.points[0, :2].tolist() == [[12, 10], [15, 32]]
    assert prompts.labels[0, :3].tolist() == [POSITIVE, POSITIVE, NO_POINT]
    assert prompts.points[1, 0].tolist() == [45, 20]
    with_specks = cam_prompts(blobs(), PromptConfig(foreground=0.5, smallest_region=0.0), 0)
    assert with_specks.points[0, :3].tolist() == [[12, 10], [57, 2], [15, 32]]
    assert cam_prompts(blobs(), PromptConfig(foreground=0.5, positives=1), 0).labels[0, 0] == POSITIVE


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5))
def test_points_lie_where_the_cam_is_confident(
    seed: int, classes: int, positives: int, negatives: int
) -> None:
    maps = np.random.default_rng(seed).random((classes, 12, 17)).astype(np.float32)
    config = PromptConfig(0.6, 0.4, max(1, positives), negatives)
    prompts = cam_prompts(maps, config, seed)
    points = prompts.points.long()
    for row in range(classes):
        for (x, y), label in zip(points[row].tolist(), prompts.labels[row].tolist()):
            if label == POSITIVE:
                assert maps[row, y, x] >= 0.6
                assert maps[:, y, x].argmax() == row
            if label == NEGATIVE:
                assert maps[:, y, x].max() < 0.4
    assert (prompts.labels == POSITIVE).sum(1).max() <= config.positives
    again = cam_prompts(maps, config, seed)
    assert torch.equal(again.points, prompts.points)


def test_a_class_without_a_confident_region_has_no_positive_point() -> None:
    maps = blobs()
    maps[1] *= 0.4
    prompts = cam_prompts(maps, PromptConfig(foreground=0.5), 0)
    assert not (prompts.labels[1] == POSITIVE).any()
    assert (prompts.labels[1] == NEGATIVE).sum() == 3


def test_prompts_of_images_with_other_numbers_of_classes_are_padded() -> None:
    both, one = cam_prompts(blobs(), PromptConfig(), 0), cam_prompts(blobs()[:1], PromptConfig(), 0)
    together = padded([both, one])
    assert together.labels.shape == (2, 2, 6)
    assert torch.equal(together.labels[1, 0], one.labels[0])
    assert (together.labels[1, 1] == NO_POINT).all()
