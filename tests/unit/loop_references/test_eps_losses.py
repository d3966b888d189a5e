"""EPS's losses, in loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from methods.eps.losses import classification_loss, overlap_ratio, saliency_loss
from tests.unit.loop_references.shared import SEEDS, Grid, close, nearest_loop


def softmax_loop(logits: np.ndarray) -> np.ndarray:
    """Softmax over the first axis of (C + 1, h, w)."""
    out = np.zeros(logits.shape)
    for y in range(logits.shape[1]):
        for x in range(logits.shape[2]):
            highest = max(float(v) for v in logits[:, y, x])
            powers = [math.exp(float(v) - highest) for v in logits[:, y, x]]
            for k, power in enumerate(powers):
                out[k, y, x] = power / sum(powers)
    return out


def overlap_loop(localisation: np.ndarray, saliency: Grid) -> float:
    """|B_i and B_s| / |B_i| of Sec. 3.2; every pixel adds 1e-4 to |B_i|, as in the published implementation."""
    both = own = 0
    for y in range(localisation.shape[0]):
        for x in range(localisation.shape[1]):
            if localisation[y, x] > 0.5:
                own += 1
                both += saliency[y][x] > 0.5
    return both / (own + 1e-4 * localisation.size)


@dataclass
class SaliencyReference:
    loss: float
    foreground: np.ndarray
    inverted_background: np.ndarray
    estimated: np.ndarray


def saliency_loss_loop(
    logits: np.ndarray,
    saliency: np.ndarray,
    labels: np.ndarray,
    selection: str,
    *,
    tau: float = 0.4,
    weight: float = 0.5,
    predefined: Sequence[int] = (),
) -> SaliencyReference:
    """Eq. 1 to 3. logits (N, C + 1, h, w), saliency (N, H, W), labels (N, C)."""
    images, maps, height, width = logits.shape
    foreground = np.zeros((images, height, width))
    inverted, estimated = np.zeros_like(foreground), np.zeros_like(foreground)
    total = 0.0
    for n in range(images):
        probabilities = softmax_loop(logits[n])
        target = nearest_loop(saliency[n].tolist(), (height, width))
        chosen = []
        for c in range(maps - 1):
            if selection == "adaptive":
                chosen.append(overlap_loop(probabilities[c], target) > tau)
            else:
                chosen.append(selection == "naive" or c not in predefined)
        for y in range(height):
            for x in range(width):
                m_fg, m_bg = 0.0, probabilities[-1, y, x]
                for c in range(maps - 1):
                    if labels[n, c] and chosen[c]:
                        m_fg += probabilities[c, y, x]
                    elif labels[n, c]:
                        m_bg += probabilities[c, y, x]
                foreground[n, y, x], inverted[n, y, x] = m_fg, 1 - m_bg
                estimated[n, y, x] = weight * m_fg + (1 - weight) * (1 - m_bg)
                total += (target[y][x] - estimated[n, y, x]) ** 2
    return SaliencyReference(total / (images * height * width), foreground, inverted, estimated)


def eps_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (2, 5, h, w), saliency (2, H, W) in 8-bit steps, labels (2, 4) with up to four objects."""
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(2, 7, 2))
    logits = rng.normal(0, 3, (2, 5, height, width)).astype(np.float32)
    factor = (1, 1) if seed == 0 else (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    extra = (0, 0) if seed < 3 else (1, 2)  # sizes that are no multiples of the CAM's
    shape = (2, height * factor[0] + extra[0], width * factor[1] + extra[1])
    saliency = (rng.integers(0, 256, shape) / 255).astype(np.float32)
    labels = rng.integers(0, 2, (2, 4))
    labels[0] = 1
    return logits, saliency, labels


@pytest.mark.parametrize("selection", ["naive", "predefined", "adaptive"])
@pytest.mark.parametrize("seed", SEEDS)
def test_saliency_loss(seed: int, selection: str) -> None:
    logits, saliency, labels = eps_case(seed)
    for tau, weight in ((0.4, 0.5), (0.55, 0.9), (0.0, 0.2)):
        expected = saliency_loss_loop(
            logits, saliency, labels, selection, tau=tau, weight=weight, predefined=(1, 3)
        )
        result = saliency_loss(
            torch.tensor(logits),
            torch.tensor(saliency)[:, None],
            torch.tensor(labels),
            tau,
            weight,
            selection,
            (1, 3),
        )
        close(result.loss, expected.loss)
        close(result.foreground[:, 0], expected.foreground)
        close(result.inverted_background[:, 0], expected.inverted_background)
        close(result.estimated_saliency[:, 0], expected.estimated)


def test_selections_differ() -> None:
    """The random cases tell the three strategies apart."""
    losses = [
        tuple(
            round(saliency_loss_loop(*eps_case(seed), selection, predefined=(1, 3)).loss, 6)
            for selection in ("naive", "predefined", "adaptive")
        )
        for seed in SEEDS
    ]
    assert any(len(set(three)) == 3 for three in losses)


def test_defaults_are_the_papers() -> None:
    logits, saliency, labels = eps_case(1)
    result = saliency_loss(torch.tensor(logits), torch.tensor(saliency)[:, None], torch.tensor(labels))
    close(result.loss, saliency_loss_loop(logits, saliency, labels, "adaptive", tau=0.4, weight=0.5).loss)


@pytest.mark.parametrize("size", [(56, 56, 448, 448), (7, 9, 50, 70), (41, 41, 321, 321), (6, 5, 4, 3)])
def test_saliency_is_resized_by_nearest(size: tuple[int, int, int, int]) -> None:
    height, width, rows, columns = size
    saliency = torch.rand(1, 1, rows, columns, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(1, 2, height, width)
    result = saliency_loss(logits, saliency, torch.ones(1, 1), map_selection="naive")
    target = nearest_loop(saliency[0, 0].double().tolist(), (height, width))
    close(result.loss, sum((v - 0.5) ** 2 for row in target for v in row) / (height * width))


@pytest.mark.parametrize("denominator", range(1, 21))
def test_overlap_equal_to_the_threshold_is_background(denominator: int) -> None:
    """Eq. 2 puts |B_i and B_s| / |B_i| = tau to the background, for every fraction that a small map can have."""
    for numerator in range(denominator):
        logits = torch.full((1, 2, 1, 20), -8.0)
        logits[0, 0, 0, :denominator] = 8.0
        logits[0, 1, 0, denominator:] = 8.0
        saliency = torch.zeros(1, 1, 1, 20)
        saliency[..., :numerator] = 1.0
        tau = numerator / denominator
        maps = logits.softmax(1)[:, :1]
        close(overlap_ratio(maps, saliency), [[numerator / (denominator + 20e-4)]])
        at = saliency_loss(logits, saliency, torch.ones(1, 1), overlap_threshold=tau)
        assert at.foreground.max() == 0, (numerator, denominator)
        if numerator:
            below = saliency_loss(logits, saliency, torch.ones(1, 1), overlap_threshold=tau - 1e-3)
            close(below.foreground, maps)


def test_overlap_counts_values_above_one_half_only() -> None:
    """B = value > .5: one half itself is outside, in the map and in the saliency."""
    maps = torch.tensor([[[[0.5, 0.51, 0.9, 0.9]]]])
    saliency = torch.tensor([[[[1.0, 0.5, 128 / 255, 127 / 255]]]])
    close(overlap_ratio(maps, saliency), [[1 / (3 + 4e-4)]])
    assert overlap_ratio(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item() == 0


@pytest.mark.parametrize("selection", ["naive", "predefined", "adaptive"])
def test_saliency_gradient(selection: str) -> None:
    """The gradient, against central differences of the reference: every map of C + 1 takes part."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (1, 4, 2, 2))
    saliency, labels = rng.random((1, 4, 4)), np.array([[1, 0, 1]])
    variable = torch.tensor(logits, requires_grad=True)
    saliency_loss(
        variable, torch.tensor(saliency)[:, None], torch.tensor(labels), 0.4, 0.5, selection, (2,)
    ).loss.backward()
    step = 1e-5
    expected = np.zeros_like(logits)
    for at in np.ndindex(logits.shape):
        pair = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[at] += sign * step
            pair.append(saliency_loss_loop(moved, saliency, labels, selection, predefined=(2,)).loss)
        expected[at] = (pair[0] - pair[1]) / (2 * step)
    assert variable.grad is not None
    close(variable.grad, expected)
    assert np.abs(expected[:, -1]).max() > 0


def classification_loss_loop(logits: np.ndarray, labels: np.ndarray) -> float:
    """Eq. 4 over globally averaged maps, meant over the batch."""
    images, maps, height, width = logits.shape
    total = 0.0
    for n in range(images):
        for c in range(maps - 1):
            score = sum(float(logits[n, c, y, x]) for y in range(height) for x in range(width)) / (
                height * width
            )
            probability = 1 / (1 + math.exp(-score))
            total -= math.log(probability) if labels[n, c] else math.log(1 - probability)
    return total / (images * (maps - 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_classification_loss(seed: int) -> None:
    logits, _, labels = eps_case(seed)
    variable = torch.tensor(logits, requires_grad=True)
    loss = classification_loss(variable, torch.tensor(labels))
    loss.backward()
    close(loss.item(), classification_loss_loop(logits, labels))
    assert variable.grad is not None
    assert torch.all(variable.grad[:, -1] == 0)
    assert torch.all(variable.grad[:, :-1] != 0)
