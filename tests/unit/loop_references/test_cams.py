"""Class activation maps, in loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from methods.layers.cam import multi_scale_cam, normalise, only_present, pseudo_labels
from tests.unit.loop_references.shared import (
    SEEDS,
    Grid,
    antialiased_loop,
    bilinear_loop,
    close,
    pseudo_labels_loop,
)

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
