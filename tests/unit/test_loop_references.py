"""Slow references in plain loops, written from the specification alone, against the implementation.

Every reference walks over pixels one by one in double precision and shares no code with what it checks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmark.evaluation.confusion import (
    confusion_matrices,
    extend_with_context,
    fold_ignored,
    merge_context,
    pair_counts,
)
from benchmark.evaluation.curves import (
    ThresholdBins,
    cam_counts,
    highest_class,
    matrices_at_thresholds,
    threshold_grid,
)
from benchmark.evaluation.evaluator import Scores, held_out_ids, score_cams, score_label_maps
from benchmark.evaluation.scores import (
    class_iou,
    confusion_ratios,
    mean_iou,
    pixel_accuracy,
    precision,
    recall,
)
from datasets.augment import Axis, Draw, augment, draw, plan
from datasets.base import ContextClass, Dataset, Problem, Sample
from datasets.recipe import IMAGENET, Recipe
from methods.artifacts import Cam, label_map_path, write_cams
from methods.eps.config import PRESETS
from methods.eps.losses import classification_loss, overlap_ratio, saliency_loss
from methods.layers.cam import multi_scale_cam, normalise, only_present, pseudo_labels
from methods.layers.config import TrainConfig
from methods.layers.optim import build_optimiser, parameter_groups, poly

TOLERANCE = 1e-5
SEEDS = range(6)

Grid = list[list[float]]
"""A map, row by row."""


def close(actual: object, expected: object) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=TOLERANCE, atol=TOLERANCE)


# --- resampling, shared by the references -----------------------------------------------------------------


def bilinear_loop(source: Sequence[Sequence[float]], size: tuple[int, int]) -> Grid:
    """Bilinear resampling with pixel centres at half integers (align_corners=False), no antialiasing."""
    height, width = len(source), len(source[0])

    def neighbours(position: int, old: int, new: int) -> tuple[int, int, float]:
        at = max((position + 0.5) * old / new - 0.5, 0.0)
        low = min(math.floor(at), old - 1)
        return low, min(low + 1, old - 1), at - low

    out = []
    for y in range(size[0]):
        top, bottom, down = neighbours(y, height, size[0])
        row = []
        for x in range(size[1]):
            left, right, along = neighbours(x, width, size[1])
            upper = (1 - along) * source[top][left] + along * source[top][right]
            lower = (1 - along) * source[bottom][left] + along * source[bottom][right]
            row.append((1 - down) * upper + down * lower)
        out.append(row)
    return out


def triangle_weights(at: int, length: int, resized: int) -> list[tuple[int, float]]:
    """Source pixels and shares of a resized pixel: a triangle as wide as a resized pixel, at least as a pixel."""
    ratio = length / resized
    reach = max(ratio, 1.0)
    centre = (at + 0.5) * ratio
    shares = [(j, 1 - abs(j + 0.5 - centre) / reach) for j in range(length)]
    shares = [(j, share) for j, share in shares if share > 0]
    total = sum(share for _, share in shares)
    return [(j, share / total) for j, share in shares]


def antialiased_loop(source: Sequence[Sequence[float]], size: tuple[int, int]) -> Grid:
    """Bilinear resampling that averages when it shrinks, as Pillow's."""
    out = [[0.0] * size[1] for _ in range(size[0])]
    for y in range(size[0]):
        for x in range(size[1]):
            for j, down in triangle_weights(y, len(source), size[0]):
                for i, along in triangle_weights(x, len(source[0]), size[1]):
                    out[y][x] += down * along * source[j][i]
    return out


def nearest_loop(source: Sequence[Sequence[float]], size: tuple[int, int]) -> Grid:
    """Nearest neighbour, the source pixel under the target pixel's first corner."""
    height, width = len(source), len(source[0])
    return [
        [source[y * height // size[0]][x * width // size[1]] for x in range(size[1])] for y in range(size[0])
    ]


# --- 1. EPS's losses --------------------------------------------------------------------------------------


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


# --- 2. class activation maps -----------------------------------------------------------------------------

WEIGHT = np.array([[0.7, -0.4, 0.3], [-0.6, 0.5, 0.2]])


def strided_forward(images: torch.Tensor) -> torch.Tensor:
    """1x1 convolution of every second pixel, ReLU, then brighter from left to right: mirroring matters."""
    maps = torch.einsum(
        "kc,bchw->bkhw", torch.tensor(WEIGHT, dtype=images.dtype), images[..., ::2, ::2]
    ).relu()
    return maps * torch.arange(1, maps.shape[-1] + 1, dtype=images.dtype)


def forward_loop(image: Sequence[Grid]) -> list[Grid]:
    out = []
    for row in WEIGHT:
        rows = []
        for y in range(0, len(image[0]), 2):
            line = [
                max(sum(float(row[c]) * image[c][y][x] for c in range(3)), 0.0) * (i + 1)
                for i, x in enumerate(range(0, len(image[0][0]), 2))
            ]
            rows.append(line)
        out.append(rows)
    return out


def mirrored(grid: Grid) -> Grid:
    return [row[::-1] for row in grid]


def multi_scale_loop(image: np.ndarray, scales: Sequence[float], flip: bool) -> list[Grid]:
    _, height, width = image.shape
    collected = []
    for scale in scales:
        size = (round(height * scale), round(width * scale))
        scaled = [antialiased_loop(channel.tolist(), size) for channel in image]
        collected.append(forward_loop(scaled))
        if flip:
            back = [mirrored(m) for m in forward_loop([mirrored(channel) for channel in scaled])]
            collected.append(back)
    finest = collected[2 * scales.index(max(scales)) if flip else scales.index(max(scales))][0]
    size = (len(finest), len(finest[0]))
    total = [[[0.0] * size[1] for _ in range(size[0])] for _ in WEIGHT]
    for maps in collected:
        for k, single in enumerate(maps):
            enlarged = bilinear_loop(single, size)
            for y in range(size[0]):
                for x in range(size[1]):
                    total[k][y][x] += enlarged[y][x]
    return total


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.5, 2.0), (1.5, 1.0, 0.5), (2.0, 0.5)])
@pytest.mark.parametrize("size", [(8, 12), (10, 6), (7, 9)])
def test_multi_scale_cam(size: tuple[int, int], scales: tuple[float, ...], flip: bool) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    result = multi_scale_cam(strided_forward, images, scales, flip)
    expected = [multi_scale_loop(image.double().numpy(), scales, flip) for image in images]
    assert tuple(result.shape) == np.shape(expected)
    close(result, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_normalise(seed: int) -> None:
    maps = np.random.default_rng(seed).random((2, 3, 4, 5)) * 10.0 ** -(seed - 2)
    maps[0, 1] = 0
    expected = np.zeros_like(maps)
    for b, k in np.ndindex(2, 3):
        highest = max(float(v) for v in maps[b, k].flat)
        for y, x in np.ndindex(4, 5):
            expected[b, k, y, x] = maps[b, k, y, x] / (highest + 1e-5)
    result = normalise(torch.tensor(maps))
    close(result, expected)
    assert result.max() < 1


def test_only_present() -> None:
    maps = torch.rand(3, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    labels = [(2, 0), (), (1, 3, 2)]
    result = only_present(maps, labels)
    for b, classes in enumerate(labels):
        assert result[b].shape == (len(classes), 2, 3)
        for k, c in enumerate(classes):
            assert torch.equal(result[b][k], maps[b, c])


def pseudo_labels_loop(
    maps: np.ndarray, classes: Sequence[int], size: tuple[int, int], threshold: float
) -> list[list[int]]:
    """The highest map's class where it is above the threshold; the first of equal maps."""
    enlarged = [bilinear_loop(m.astype(np.float64).tolist(), size) for m in maps]
    out = [[0] * size[1] for _ in range(size[0])]
    for y in range(size[0]):
        for x in range(size[1]):
            best = threshold
            for k, c in enumerate(classes):
                if enlarged[k][y][x] > best:
                    best, out[y][x] = enlarged[k][y][x], c + 1
    return out


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("size", [(4, 5), (8, 10), (13, 17), (3, 4), (1, 1)])
def test_pseudo_labels(count: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(count)
    classes = rng.permutation(20)[:count].tolist()
    maps = rng.random((count, 4, 5)).astype(np.float32)
    for threshold in (0.0, 0.2, 0.5, 0.75, 1.0):
        result = pseudo_labels(torch.tensor(maps), classes, size, threshold)
        assert result.dtype == torch.uint8
        np.testing.assert_array_equal(result.numpy(), pseudo_labels_loop(maps, classes, size, threshold))


@pytest.mark.parametrize("size", [(4, 5), (8, 10)])
@pytest.mark.parametrize("seed", SEEDS)
def test_pseudo_label_ties(seed: int, size: tuple[int, int]) -> None:
    """Values and weights that binary fractions hold exactly, so that ties are ties, also between pixels."""
    maps = np.random.default_rng(seed).integers(0, 5, (3, 4, 5)).astype(np.float32) / 4
    for threshold in (0.0, 0.25, 0.5, 0.75, 1.0):
        result = pseudo_labels(torch.tensor(maps), (4, 0, 2), size, threshold)
        np.testing.assert_array_equal(result.numpy(), pseudo_labels_loop(maps, (4, 0, 2), size, threshold))


def test_pseudo_label_tie_at_every_hundredth() -> None:
    """A score that is the threshold's single-precision value ties with it."""
    for hundredth in range(101):
        maps = torch.full((1, 2, 2), hundredth / 100)
        assert not pseudo_labels(maps, (3,), (2, 2), hundredth / 100).any(), hundredth


# --- 3. optimisation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("iterations", "warmup", "power"), [(20, 0, 0.9), (20, 5, 0.9), (7, 2, 1.0), (50, 1, 2.0)]
)
def test_poly(iterations: int, warmup: int, power: float) -> None:
    """(1 - iteration / iterations) ** power; before that, a straight line from near 0 to the full rate."""
    factor = poly(TrainConfig(iterations=iterations, warmup=warmup, power=power))
    for iteration in range(warmup, iterations):
        left = 1.0
        left -= iteration / iterations
        close(factor(iteration), math.exp(power * math.log(left)))
    for iteration in range(warmup):
        close(factor(iteration), (iteration + 1) / warmup)


def test_learning_rates_of_eps() -> None:
    """Weights x1, biases x2, the classifier's weights x10 and its biases x20; biases do not decay."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    classifier = nn.Conv2d(5, 3, 1)
    network = nn.Sequential(trunk, classifier)
    trunk[0].weight.requires_grad_(False)
    config = TrainConfig(
        learning_rate=0.01, head_multiplier=10, bias_multiplier=2, weight_decay=5e-4, momentum=0.3
    )
    expected: dict[int, tuple[float, float]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = 0.01
        if name.endswith("bias"):
            rate *= 2
        if name.startswith("1."):
            rate *= 10
        expected[id(parameter)] = (rate, 0.0 if name.endswith("bias") else 5e-4)
    assert sorted({round(rate, 6) for rate, _ in expected.values()}) == [0.01, 0.02, 0.1, 0.2]
    optimiser = build_optimiser(network, [classifier], config)
    for groups in (parameter_groups(network, [classifier], config), optimiser.param_groups):
        found: dict[int, tuple[float, float]] = {}
        for group in groups:
            for parameter in group["params"]:
                assert id(parameter) not in found
                found[id(parameter)] = (group["lr"], group["weight_decay"])
        assert found.keys() == expected.keys()
        for key, pair in expected.items():
            close(found[key], pair)
    assert isinstance(optimiser, torch.optim.SGD)
    assert {group["momentum"] for group in optimiser.param_groups} == {0.3}


def test_sgd_steps() -> None:
    """Two updates of plain SGD with momentum and decay, number by number."""
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 1.0)
    config = TrainConfig(
        learning_rate=0.1, momentum=0.5, weight_decay=0.1, head_multiplier=10, bias_multiplier=2
    )
    optimiser = build_optimiser(layer, [], config)
    values, velocity = {"weight": 2.0, "bias": 1.0}, {"weight": 0.0, "bias": 0.0}
    for _ in range(2):
        optimiser.zero_grad()
        (3 * layer.weight + 5 * layer.bias).sum().backward()
        optimiser.step()
        for name, gradient, rate, decay in (("weight", 3.0, 0.1, 0.1), ("bias", 5.0, 0.2, 0.0)):
            velocity[name] = 0.5 * velocity[name] + gradient + decay * values[name]
            values[name] -= rate * velocity[name]
    close([layer.weight.item(), layer.bias.item()], [values["weight"], values["bias"]])


def test_paper_preset_of_eps() -> None:
    config = PRESETS["paper"]
    assert (config.overlap_threshold, config.foreground_weight, config.map_selection) == (
        0.4,
        0.5,
        "adaptive",
    )
    assert config.predefined_background == ("sofa", "chair", "diningtable")
    assert config.backbone.name == "resnet38d"
    assert config.backbone.freeze_bn
    assert config.backbone.frozen_stages >= 1
    train = config.train
    assert (train.optimiser, train.batch_size, train.learning_rate, train.iterations) == (
        "sgd",
        8,
        0.01,
        20_000,
    )
    assert (train.power, train.warmup, train.head_multiplier, train.bias_multiplier) == (0.9, 0, 10, 2)
    assert (train.recipe.crop, train.recipe.flip) == (448, 0.5)
    assert (config.inference.scales, config.inference.flip) == ((0.5, 1.0, 1.5, 2.0), True)
    assert (config.background_threshold, config.refiner.name) == (0.2, "none")


def test_paper_preset_decays_weights() -> None:
    assert PRESETS["paper"].train.weight_decay == 5e-4


# --- 4. evaluation ----------------------------------------------------------------------------------------

CLASSES = ("ash", "birch", "cedar", "dogwood")
CONTEXTS = (ContextClass("moss", 0, 3), ContextClass("rock", 2, 5), ContextClass("rock", 1, 5))
"""Two object classes share a region; dogwood never occurs."""

Counts = dict[tuple[int, int], int]
"""(ground truth, prediction) -> pixels, both 0..C."""


def count_loop(truth: np.ndarray, prediction: np.ndarray, counts: Counts) -> None:
    """Add one image's pixels. 255 in the truth is ignored, predicted 255 is background."""
    for y, x in np.ndindex(truth.shape):
        if truth[y, x] != 255:
            predicted = 0 if prediction[y, x] == 255 else int(prediction[y, x])
            key = (int(truth[y, x]), predicted)
            counts[key] = counts.get(key, 0) + 1


def scores_loop(counts: Counts, classes: int) -> dict[str, list[float]]:
    """Per-class scores over `classes` ids, NaN where undefined, and the two means."""
    out: dict[str, list[float]] = {"iou": [], "precision": [], "recall": []}
    for c in range(classes):
        hit = counts.get((c, c), 0)
        of_class = sum(n for (t, _), n in counts.items() if t == c)
        predicted = sum(n for (_, p), n in counts.items() if p == c)
        union = of_class + predicted - hit
        out["iou"].append(hit / union if union else math.nan)
        out["precision"].append(hit / predicted if predicted else math.nan)
        out["recall"].append(hit / of_class if of_class else math.nan)
    kept = [v for v in out["iou"] if not math.isnan(v)]
    out["miou"] = [sum(kept) / len(kept) if kept else math.nan]
    pixels = sum(counts.values())
    out["pixel_accuracy"] = [
        sum(n for (t, p), n in counts.items() if t == p) / pixels if pixels else math.nan
    ]
    return out


def confusion_ratio_loop(
    truths: Sequence[np.ndarray],
    contexts: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    of: ContextClass,
) -> float:
    """m_{k,c} = FP_{k,c} / TP_c: region k predicted as c, over c predicted right."""
    false, true = 0, 0
    for truth, context, prediction in zip(truths, contexts, predictions, strict=True):
        for at in np.ndindex(truth.shape):
            if prediction[at] == of.object_class + 1:
                false += bool(truth[at] == 0 and context[at] == of.value)
                true += bool(truth[at] == of.object_class + 1)
    return false / true if true else math.nan


def random_maps(seed: int, ids: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).choice(ids, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("truth_ids", "prediction_ids"),
    [
        ((0, 1, 2, 255), (0, 1, 2)),
        ((0, 1, 2, 255), (0, 1, 3, 255)),  # 2 never predicted, 3 predicted but absent, 4 in neither
        ((1, 255), (0, 255)),
        ((0,), (0,)),
        ((255,), (0, 1)),  # nothing to score
        ((0, 1, 2, 3, 4), (4,)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_scores(seed: int, truth_ids: tuple[int, ...], prediction_ids: tuple[int, ...]) -> None:
    truth, prediction = (
        random_maps(seed, truth_ids, (3, 5, 7)),
        random_maps(seed + 100, prediction_ids, (3, 5, 7)),
    )
    matrices = confusion_matrices(truth, prediction, 5, 5)
    pairs = pair_counts(truth, prediction, 5, 5)
    np.testing.assert_array_equal(fold_ignored(pairs), matrices)
    together: Counts = {}
    for n in range(3):
        counts: Counts = {}
        count_loop(truth[n], prediction[n], counts)
        count_loop(truth[n], prediction[n], together)
        for t, p in np.ndindex(5, 5):
            assert matrices[n, t, p] == counts.get((t, p), 0)
        ignored = sum(int(truth[n][at] != 255 and prediction[n][at] == 255) for at in np.ndindex(5, 7))
        assert pairs[n, :, -1].sum() == ignored
    matrix = matrices.sum(0)
    expected = scores_loop(together, 5)
    close(class_iou(matrix), expected["iou"])
    close(precision(matrix), expected["precision"])
    close(recall(matrix), expected["recall"])
    close(mean_iou(matrix), expected["miou"][0])
    close(pixel_accuracy(matrix), expected["pixel_accuracy"][0])


def test_mean_iou_of_absent_classes() -> None:
    """By hand: a class that is only predicted counts with 0, one in neither is left out."""
    truth = np.array([[[0, 0, 1, 1]]], np.uint8)
    prediction = np.array([[[0, 2, 1, 1]]], np.uint8)
    matrix = confusion_matrices(truth, prediction, 4, 4)[0]
    close(class_iou(matrix), [0.5, 1.0, 0.0, math.nan])
    close(mean_iou(matrix), 0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_confusion_ratio(seed: int) -> None:
    truth = random_maps(seed, (0, 0, 0, 1, 2, 3, 255), (4, 6, 5))
    context = random_maps(seed + 1, (0, 3, 5, 9), (4, 6, 5))
    prediction = random_maps(seed + 2, (0, 1, 2, 3, 255), (4, 6, 5))
    if seed == 0:
        prediction[prediction == 3] = 0  # no true positive of cedar: undefined
    extended = np.stack([extend_with_context(t, c, CONTEXTS, 4) for t, c in zip(truth, context, strict=True)])
    total = confusion_matrices(extended, prediction, 5 + len(CONTEXTS), 5).sum(0)
    expected = [confusion_ratio_loop([*truth], [*context], [*prediction], of) for of in CONTEXTS]
    close(confusion_ratios(total, CONTEXTS, 4), expected)
    np.testing.assert_array_equal(merge_context(total, 4), confusion_matrices(truth, prediction, 5, 5).sum(0))


def test_threshold_grid_and_bins() -> None:
    thresholds = threshold_grid(0.01, 0.2, 0.255, 1.0)
    assert thresholds.dtype == np.float32
    expected = sorted({float(np.float32(i / 100)) for i in range(101)} | {float(np.float32(0.255))})
    close(thresholds, expected)
    assert len(thresholds) == 102
    bins = ThresholdBins(thresholds)
    rng = np.random.default_rng(0)
    scores = [np.float32(0), np.float32(1), *rng.random(200, dtype=np.float32)]
    for t in thresholds:
        scores += [t, np.nextafter(t, np.float32(0)), min(np.nextafter(t, np.float32(2)), np.float32(1))]
    below = [sum(float(t) < float(score) for t in thresholds) for score in scores]
    np.testing.assert_array_equal(bins(np.array(scores, np.float32)), below)


def random_cam(seed: int, count: int, *, exact: bool) -> Cam:
    """Maps of up to four classes; `exact`: quarters, doubled in size, so that ties are ties."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 5, (count, 3, 4)) / 4 if exact else rng.random((count, 3, 4))
    size = (6, 8) if exact else (7, 9)
    return Cam(maps.astype(np.float16), tuple(rng.permutation(3)[:count].tolist()), size)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_cam_curve(seed: int, exact: bool) -> None:
    cam = random_cam(seed, seed % 4, exact=exact)
    truth = random_maps(seed, (0, 1, 2, 3, 255), cam.size)
    thresholds = threshold_grid(0.25 if exact else 0.05)
    bins = ThresholdBins(thresholds)
    counted = cam_counts(cam, truth, bins)
    histogram = np.zeros((5, 5, len(thresholds) + 1), np.int64)
    for t, p, b, n in zip(*counted, strict=True):
        histogram[t, p, b] += n
    assert histogram.sum() == sum(int(v != 255) for v in truth.flat)
    matrices = matrices_at_thresholds(histogram)
    for j, threshold in enumerate(thresholds):
        prediction = np.array(pseudo_labels_loop(cam.maps, cam.classes, cam.size, float(threshold)))
        counts: Counts = {}
        count_loop(truth, prediction, counts)
        for t, p in np.ndindex(5, 5):
            assert matrices[j, t, p] == counts.get((t, p), 0), (j, t, p)
        close(mean_iou(matrices[j]), scores_loop(counts, 5)["miou"][0])


@pytest.mark.parametrize("seed", SEEDS)
def test_highest_class(seed: int) -> None:
    cam = random_cam(seed, 3, exact=seed % 2 == 1)
    score, position = highest_class(cam)
    enlarged = [bilinear_loop(m.astype(np.float64).tolist(), cam.size) for m in cam.maps]
    for y, x in np.ndindex(cam.size):
        values = [m[y][x] for m in enlarged]
        close(score[y, x], max(values))
        assert position[y, x] == values.index(max(values))


class TinyDataset(Dataset):
    """Random masks and context maps in a folder."""

    name = "tiny"
    summary = needs = "none"
    classes = CLASSES
    contexts = CONTEXTS

    def __init__(
        self, root: Path, truths: Mapping[str, np.ndarray], regions: Mapping[str, np.ndarray]
    ) -> None:
        self.root, self.truths, self.regions = root, truths, regions
        for part, maps in (("masks", truths), ("contexts", regions)):
            (root / part).mkdir()
            for i, values in maps.items():
                Image.fromarray(values).save(root / part / f"{i}.png")

    def prepare(self) -> None: ...

    def ids(self, split: str) -> tuple[str, ...]:
        return tuple(self.truths)

    def sample(self, sample_id: str) -> Sample:
        return Sample(sample_id, self.root / f"{sample_id}.jpg", (0, 1, 2))

    def mask_path(self, sample_id: str) -> Path:
        return self.root / "masks" / f"{sample_id}.png"

    def context_path(self, sample_id: str) -> Path:
        return self.root / "contexts" / f"{sample_id}.png"

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return "tiny"

    def problems(self) -> Sequence[Problem]:
        return ()


def tiny_dataset(root: Path, count: int = 8) -> TinyDataset:
    ids = [f"image-{i}" for i in range(count)]
    size = (7, 9)
    truths = {i: random_maps(n, (0, 0, 0, 1, 2, 3, 255), size) for n, i in enumerate(ids)}
    regions = {i: random_maps(n + 50, (0, 3, 5, 9), size) for n, i in enumerate(ids)}
    return TinyDataset(root, truths, regions)


def rows_of(scores: Scores, variant: str) -> dict[tuple[str, str], float]:
    return {(r.metric, r.class_name): r.value for r in scores.rows if r.variant == variant}


def require_rows(
    found: Mapping[tuple[str, str], float], data: TinyDataset, labels: Mapping[str, np.ndarray]
) -> None:
    """Compare every score of one variant with the references over the images in `labels`."""
    counts: Counts = {}
    for i, prediction in labels.items():
        count_loop(data.truths[i], prediction, counts)
    expected = scores_loop(counts, 5)
    for metric in ("miou", "pixel_accuracy"):
        close(found[metric, ""], expected[metric][0])
    for metric in ("iou", "precision", "recall"):
        close([found[metric, name] for name in ("background", *CLASSES)], expected[metric])
    truths, regions = [data.truths[i] for i in labels], [data.regions[i] for i in labels]
    for of in CONTEXTS:
        ratio = confusion_ratio_loop(truths, regions, list(labels.values()), of)
        close(found["confusion_ratio", f"{CLASSES[of.object_class]}|{of.name}"], ratio)


def held_out_loop(ids: Sequence[str], fraction: float) -> set[str]:
    """The ids with the smallest SHA-256, one at least and one at least left over."""
    count = min(max(round(fraction * len(ids)), 1), len(ids) - 1)
    chosen: set[str] = set()
    while len(chosen) < count:
        chosen.add(
            min((i for i in ids if i not in chosen), key=lambda i: hashlib.sha256(i.encode()).hexdigest())
        )
    return chosen


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.37, 0.99])
def test_held_out_part(fraction: float) -> None:
    ids = [f"{n:05d}" for n in range(13)]
    assert set(held_out_ids(ids, fraction)) == held_out_loop(ids, fraction)
    assert held_out_ids(ids[::-1], fraction) == held_out_ids(ids, fraction)


def miou_at(data: TinyDataset, cams: Mapping[str, Cam], ids: Sequence[str], threshold: float) -> float:
    counts: Counts = {}
    for i in ids:
        labels = pseudo_labels_loop(cams[i].maps, cams[i].classes, cams[i].size, threshold)
        count_loop(data.truths[i], np.array(labels), counts)
    return scores_loop(counts, 5)["miou"][0]


def best_threshold(score: Callable[[float], float], thresholds: Sequence[float]) -> float:
    """The lowest of the thresholds with the best score."""
    best, best_score = math.nan, -math.inf
    for threshold in thresholds:
        value = score(threshold)
        if value > best_score:
            best, best_score = threshold, value
    return best


@pytest.mark.parametrize("count", [3, 8])
def test_threshold_rules(tmp_path: Path, count: int) -> None:
    """Fixed, tuned and oracle thresholds and the curve, on images of which one has no class at all."""
    data = tiny_dataset(tmp_path, count)
    ids = data.ids("train")
    cams = {i: random_cam(n + 10 * count, n % 4, exact=False) for n, i in enumerate(ids)}
    artifact = tmp_path / "cams"
    artifact.mkdir()
    write_cams(artifact / "part.safetensors", cams)
    scores = score_cams(
        artifact,
        data,
        "train",
        0.33,
        counts_path=tmp_path / "c.parquet",
        step=0.05,
        sweep_max=0.55,
        workers=1,
    )

    thresholds = [n / 20 for n in range(12)]
    curve = [(r.threshold, r.value) for r in scores.rows if r.variant == "curve"]
    close([t for t, _ in curve], thresholds)
    close([v for _, v in curve], [miou_at(data, cams, ids, t) for t in thresholds])

    tuning = sorted(held_out_loop(ids, 0.2))
    rest = [i for i in ids if i not in tuning]
    rules = {
        "fixed": (0.33, ids),
        "tuned": (best_threshold(lambda t: miou_at(data, cams, tuning, t), thresholds), rest),
        "oracle": (best_threshold(lambda t: miou_at(data, cams, ids, t), thresholds), ids),
    }
    for variant, (threshold, scored) in rules.items():
        found = rows_of(scores, variant)
        close(found["threshold", ""], threshold)
        labels = {
            i: np.array(pseudo_labels_loop(cams[i].maps, cams[i].classes, cams[i].size, threshold))
            for i in scored
        }
        require_rows(found, data, labels)
        assert {r.images for r in scores.rows if r.variant == variant} == {len(scored)}
    assert rows_of(scores, "tuned")["held_out_images", ""] == len(tuning)


SWEEPS = [
    pytest.param(0.01, 60, id="published"),
    pytest.param(0.02, 30, id="even"),
    pytest.param(0.25, 3, id="coarse"),
    pytest.param(
        0.05,
        12,
        id="past-the-end",
    ),
]


@pytest.mark.parametrize(("step", "count"), SWEEPS)
def test_sweep(tmp_path: Path, step: float, count: int) -> None:
    """From 0 in steps, never above .59."""
    data = tiny_dataset(tmp_path, 2)
    artifact = tmp_path / "cams"
    artifact.mkdir()
    write_cams(
        artifact / "part.safetensors", {i: random_cam(n, 2, exact=False) for n, i in enumerate(data.truths)}
    )
    scores = score_cams(
        artifact, data, "train", None, counts_path=tmp_path / "c.parquet", step=step, workers=1
    )
    close([r.threshold for r in scores.rows if r.variant == "curve"], [n * step for n in range(count)])
    assert not rows_of(scores, "fixed")


def test_label_map_scores(tmp_path: Path) -> None:
    data = tiny_dataset(tmp_path)
    labels = {i: random_maps(n + 90, (0, 0, 1, 2, 3, 255), (7, 9)) for n, i in enumerate(data.ids("train"))}
    (tmp_path / "artifact" / "labels").mkdir(parents=True)
    for i, values in labels.items():
        Image.fromarray(values).save(label_map_path(tmp_path / "artifact", i))
    scores = score_label_maps(
        tmp_path / "artifact",
        data,
        "train",
        stage="pseudo_label",
        counts_path=tmp_path / "c.parquet",
        workers=1,
    )
    require_rows(rows_of(scores, ""), data, labels)
    ignored = 0
    for i, values in labels.items():
        ignored += sum(
            int(values[at] == 255 and data.truths[i][at] != 255) for at in np.ndindex(values.shape)
        )
    assert rows_of(scores, "")["ignored_predictions", ""] == ignored


# --- 5. augmentation --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One axis of a sample: source [start, start + length) resized to `resized`, shown from `offset` on."""

    start: int
    length: int
    resized: int
    offset: int
    flip: bool = False

    def source(self, position: int, crop: int) -> int | None:
        """The pixel of the resized axis that an output pixel shows; None outside the image."""
        at = (crop - 1 - position if self.flip else position) + self.offset
        return at if 0 <= at < self.resized else None

    def weights(self, at: int) -> list[tuple[int, float]]:
        """Source pixels of the image, and their shares, of a pixel of the resized axis."""
        return [(self.start + j, share) for j, share in triangle_weights(at, self.length, self.resized)]

    def nearest(self, at: int) -> int:
        return self.start + (2 * at + 1) * self.length // (2 * self.resized)


def resample_loop(source: np.ndarray, rows: Side, columns: Side, crop: int) -> tuple[Grid, list[list[bool]]]:
    """One channel, with zeros outside the image, and whether a pixel is inside."""
    values = [[0.0] * crop for _ in range(crop)]
    inside = [[False] * crop for _ in range(crop)]
    for y in range(crop):
        for x in range(crop):
            row, column = rows.source(y, crop), columns.source(x, crop)
            if row is None or column is None:
                continue
            inside[y][x] = True
            for j, down in rows.weights(row):
                for i, along in columns.weights(column):
                    values[y][x] += down * along * float(source[j, i])
    return values, inside


def labels_loop(source: np.ndarray, rows: Side, columns: Side, crop: int) -> list[list[int]]:
    out = [[255] * crop for _ in range(crop)]
    for y in range(crop):
        for x in range(crop):
            row, column = rows.source(y, crop), columns.source(x, crop)
            if row is not None and column is not None:
                out[y][x] = int(source[rows.nearest(row), columns.nearest(column)])
    return out


def axis_of(sides: Sequence[Side]) -> Axis:
    start, length, resized, offset = (
        np.array([getattr(side, name) for side in sides]) for name in ("start", "length", "resized", "offset")
    )
    return Axis(start, length, resized, offset, np.array([side.flip for side in sides]))


def sides_of(axis: Axis) -> list[Side]:
    return [Side(int(s), int(n), int(r), int(o), bool(f)) for s, n, r, o, f in zip(*axis, strict=True)]


def require_geometry(
    rows: Sequence[Side], columns: Sequence[Side], sources: Sequence[np.ndarray], crop: int
) -> None:
    """Carry out a geometry on (H, W, 5) sources: an image, a continuous companion and a label companion."""
    neutral = np.tile([1.0, 1.0, 1.0, 0.0], (len(sources), 1))
    steps, windows = plan(Draw(axis_of(rows), axis_of(columns), neutral), crop, IMAGENET)
    spans = [(int(t), int(b), int(left), int(right)) for t, b, left, right in windows]
    height, width = max(b - t for t, b, _, _ in spans), max(r - left for _, _, left, r in spans)
    canvas = np.full(
        (len(sources), width, 5, height), 77, np.uint8
    )  # what is outside a window must not matter
    for n, (top, bottom, left, right) in enumerate(spans):
        part = sources[n][top:bottom, left:right]
        canvas[n, : right - left, :, : bottom - top] = part.transpose(1, 2, 0)
    result = augment(torch.tensor(canvas), steps, IMAGENET, 1)
    for n, source in enumerate(sources):
        values, inside = resample_loop(source[..., 3], rows[n], columns[n], crop)
        close(result.maps[n, 0], np.array(values) / 255)
        np.testing.assert_array_equal(result.valid[n, 0].numpy(), inside)
        np.testing.assert_array_equal(
            result.labels[n, 0].numpy(), labels_loop(source[..., 4], rows[n], columns[n], crop)
        )
        for c in range(3):
            channel, _ = resample_loop(source[..., c], rows[n], columns[n], crop)
            normalised = (np.array(channel) / 255 - IMAGENET.mean[c]) / IMAGENET.std[c]
            close(result.images[n, c], np.where(inside, normalised, 0))


def random_source(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 5)).astype(np.uint8)


GEOMETRIES = {
    "identity": (Side(0, 8, 8, 0), Side(0, 8, 8, 0)),
    "flip": (Side(0, 8, 8, 0), Side(0, 8, 8, 0, True)),
    "enlarged": (Side(0, 5, 11, 2), Side(0, 7, 16, 8, True)),
    "halved": (Side(0, 16, 8, 0), Side(0, 18, 9, 1)),
    "shrunk": (Side(0, 31, 9, 1), Side(0, 23, 10, 2, True)),
    "padded": (Side(0, 12, 5, -2), Side(0, 9, 6, 0, True)),
    "tiny": (Side(0, 3, 1, -4), Side(0, 1, 3, -5, True)),
    "box": (Side(3, 7, 8, 0), Side(2, 13, 8, 0, True)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_resampling(name: str) -> None:
    rows, columns = GEOMETRIES[name]
    source = random_source(len(name), rows.start + rows.length, columns.start + columns.length)
    require_geometry([rows], [columns], [source], 8)


def test_resampling_of_a_batch() -> None:
    rows, columns = zip(*GEOMETRIES.values(), strict=True)
    sources = [
        random_source(n, r.start + r.length + 2, c.start + c.length + 1)
        if name == "box"
        else random_source(n, r.length, c.length)
        for n, (name, (r, c)) in enumerate(GEOMETRIES.items())
    ]
    require_geometry(rows, columns, sources, 8)


RECIPES = {
    "scale": Recipe(crop=9, scale=(0.4, 1.8)),
    "resize_long": Recipe(crop=9, resize_long=(6, 20)),
    "resize_crop": Recipe(crop=9, resize_crop=(0.2, 1.0)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_drawn_geometry(name: str) -> None:
    """Ranges of the recipe, then the resampling of what was drawn."""
    recipe = RECIPES[name]
    sizes = np.array([(11, 14), (17, 9), (6, 6), (13, 21)] * 12)
    drawn = draw(recipe, 5, np.zeros(len(sizes), np.int64), np.arange(len(sizes)), sizes)
    rows, columns = sides_of(drawn.rows), sides_of(drawn.columns)
    np.testing.assert_array_equal(drawn.colour, np.tile([1.0, 1.0, 1.0, 0.0], (len(sizes), 1)))
    assert not any(side.flip for side in rows)
    assert {side.flip for side in columns} == {False, True}
    for size, row, column in zip(sizes, rows, columns, strict=True):
        for side, whole in ((row, int(size[0])), (column, int(size[1]))):
            assert 0 <= side.start < side.start + side.length <= whole
            low, high = sorted((0, side.resized - recipe.crop))
            assert low <= side.offset <= high
        if name == "resize_crop":
            assert row.resized == column.resized == recipe.crop
            share = row.length * column.length / (int(size[0]) * int(size[1]))
            rounding = (row.length + column.length + 1) / (2 * int(size[0]) * int(size[1]))
            assert 0.2 - rounding <= share <= 1
            continue
        assert (row.start, row.length, column.start, column.length) == (0, int(size[0]), 0, int(size[1]))
        longest, resized = max(row.length, column.length), max(row.resized, column.resized)
        if name == "resize_long":
            assert 6 <= resized <= 20
        else:
            assert 0.4 * longest - 0.5 <= resized <= 1.8 * longest + 0.5
        assert (
            abs(row.resized / row.length * column.length - column.resized) <= 1 + column.length / row.length
        )
    for n in range(8):
        source = random_source(n, int(sizes[n][0]), int(sizes[n][1]))
        require_geometry([rows[n]], [columns[n]], [source], recipe.crop)
