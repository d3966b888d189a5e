"""CA-CL's losses (Bai et al. 2025, Eq. 4, 6, 10, 12) and CLIMS's (Xie et al. 2022), in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from methods.ca_cl.losses import background_suppression, image_text_contrast, select_prompts
from methods.clims.losses import (
    background_text_matching,
    co_occurring_background_suppression,
    object_text_matching,
)
from tests.unit.loop_references.shared import SEEDS, close

THRESHOLD = 0.26


def case(seed: int, texts: int) -> np.ndarray:
    """Similarities (N, texts) of a random number of pairs, on both sides of the threshold."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.95, (int(rng.integers(1, 7)), texts))


@pytest.mark.parametrize("seed", SEEDS)
def test_select_prompts(seed: int) -> None:
    similarity = case(seed, 4)
    expected = []
    for row in similarity.tolist():
        best = 0
        for j, value in enumerate(row):
            if value > row[best]:
                best = j
        expected.append(best)
    close(select_prompts(torch.tensor(similarity)), expected)


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_image_text_contrast(seed: int, margin: float) -> None:
    foreground, background = case(seed, 2).T
    total = 0.0
    for f, b in zip(foreground.tolist(), background.tolist()):
        total += max(0.0, margin - f + b)
    close(
        image_text_contrast(torch.tensor(foreground), torch.tensor(background), margin),
        total / len(foreground),
    )


@pytest.mark.parametrize("gate", ["straight_through", "sigmoid"])
@pytest.mark.parametrize(("reduction", "images"), [("sum", 3), ("mean", 3)])
@pytest.mark.parametrize("seed", SEEDS)
def test_background_suppression(seed: int, reduction: str, images: int, gate: str) -> None:
    similarity, steepness, total = case(seed, 20), 30.0, 0.0
    for row in similarity.tolist():
        for value in row:
            if gate == "sigmoid":
                t = 1 / (1 + math.exp(-steepness * (value - THRESHOLD)))
            else:
                t = 1.0 if value >= THRESHOLD else 0.0
            total -= math.log(1 - value * t)
    threshold = torch.tensor(THRESHOLD, dtype=torch.float64)
    found = background_suppression(torch.tensor(similarity), threshold, gate, steepness, images, reduction)
    close(found.loss, total / images if reduction == "mean" else total)
    close(found.selected, [[value >= THRESHOLD for value in row] for row in similarity.tolist()])


@pytest.mark.parametrize("seed", SEEDS)
def test_clims(seed: int) -> None:
    similarity = case(seed, 10)
    matched, unmatched, suppressed = 0.0, 0.0, 0.0
    for row in similarity.tolist():
        for value in row:
            clamped = min(max(value, 0.0001), 0.9999)
            matched -= math.log(clamped)
            unmatched -= math.log(1 - clamped)
            suppressed -= math.log(1 - value) if value > THRESHOLD else 0.0
    close(object_text_matching(torch.tensor(similarity)), matched / similarity.size)
    close(background_text_matching(torch.tensor(similarity)), unmatched / similarity.size)
    close(co_occurring_background_suppression(torch.tensor(similarity), THRESHOLD), suppressed)
