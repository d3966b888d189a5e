"""PSA's affinity labels, loss and random walk (Ahn and Kwak, CVPR 2018), in loops over pairs of cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch

from methods.refiners.affinity_labels import affinity_labels, cell_labels, confident_labels
from methods.refiners.psa.network import affinity_losses, pair_affinities
from methods.refiners.psa.stages import background_score
from methods.refiners.random_walk import SparseTransition, disc_offsets, random_walk
from tests.unit.loop_references.shared import SEEDS, Grid, close

RADIUS = 5
REACH = RADIUS - 1
IGNORED = 255
EPSILON = 1e-5
"""What the published code adds inside its logarithms."""

Labels = list[list[int]]
Pair = tuple[int, int, int, int]
"""Row and column of the first cell, then of the second, which comes later in reading order."""


def pairs_loop(height: int, width: int, radius: int = RADIUS) -> list[Pair]:
    """Pairs of cells nearer than the radius."""
    cells = list(product(range(height), range(width)))
    return [
        (*one, *two)
        for i, one in enumerate(cells)
        for two in cells[i + 1 :]
        if (two[0] - one[0]) ** 2 + (two[1] - one[1]) ** 2 < radius**2
    ]


def has_all_partners(y: int, x: int, height: int, width: int) -> bool:
    """A first cell whose every later neighbour is in the grid; the published code labels no other."""
    return y + REACH < height and x - REACH >= 0 and x + REACH < width


def confident_loop(low: int, high: int) -> int:
    """Background where the high power says so, the class of the low power where that is one, else ignored."""
    if high == 0:
        return 0
    return low if low > 0 else IGNORED


def kind_loop(one: int, two: int) -> str | None:
    """What a pair teaches: alike background, alike foreground, unlike, or nothing."""
    if IGNORED in (one, two):
        return None
    if one != two:
        return "negative"
    return "background_positive" if one == 0 else "foreground_positive"


def loss_loop(affinities: np.ndarray, labels: Sequence[Labels], offsets: Sequence[tuple[int, int]]) -> float:
    """bg / 4 + fg / 4 + neg / 2 (Eq. 5 to 7), each the mean over all its pairs in the batch, 0 without any.

    All pairs, as the paper's sums have it; the published code leaves out first cells that lack a partner.
    """
    losses: dict[str, list[float]] = {"background_positive": [], "foreground_positive": [], "negative": []}
    for n, grid in enumerate(labels):
        height, width = len(grid), len(grid[0])
        for y, x, v, u in pairs_loop(height, width):
            kind = kind_loop(grid[y][x], grid[v][u])
            if kind is None:
                continue
            affinity = float(affinities[n, offsets.index((v - y, u - x)), y, x])
            losses[kind].append(-math.log(EPSILON + (1 - affinity if kind == "negative" else affinity)))
    background, foreground, negative = (sum(v) / max(len(v), 1) for v in losses.values())
    return background / 4 + foreground / 4 + negative / 2


def transition_loop(affinities: np.ndarray, offsets: Sequence[tuple[int, int]], beta: float) -> Grid:
    """A^beta, symmetric and 1 for a cell and itself, its columns divided by their sums; dense."""
    height, width = affinities.shape[1:]
    area = height * width
    matrix = [[float(i == j) for j in range(area)] for i in range(area)]
    for y, x, v, u in pairs_loop(height, width):
        value = float(affinities[offsets.index((v - y, u - x)), y, x]) ** beta
        matrix[y * width + x][v * width + u] = matrix[v * width + u][y * width + x] = value
    sums = [sum(matrix[i][j] for i in range(area)) for j in range(area)]
    return [[matrix[i][j] / sums[j] for j in range(area)] for i in range(area)]


def walk_loop(scores: Grid, transition: Grid, logt: int) -> Grid:
    """2^logt single steps of scores (K, h w)."""
    columns = [list(column) for column in zip(*transition)]
    for _ in range(2**logt):
        scores = [[sum(map(float.__mul__, row, column)) for column in columns] for row in scores]
    return scores


def label_case(seed: int, height: int, width: int) -> np.ndarray:
    """Label maps (2, H, W) of a few patches of background, two classes and ignored cells."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 0, 1, 2, IGNORED], (2, math.ceil(height / 2), math.ceil(width / 3)))
    return coarse.repeat(2, 1).repeat(3, 2)[:, :height, :width]


def test_offsets() -> None:
    """34 pairs for each cell that has all of them."""
    around = [(v - REACH, u - REACH) for y, x, v, u in pairs_loop(9, 9) if (y, x) == (REACH, REACH)]
    assert len(around) == 34
    assert sorted(disc_offsets(RADIUS)) == sorted(around)


@pytest.mark.parametrize("power", [1.0, 4.0, 16.0, 32.0])
def test_background_score(power: float) -> None:
    maps = np.random.default_rng(0).random((2, 3, 4, 5))
    result = background_score(torch.tensor(maps), power)
    for n, y, x in np.ndindex(2, 4, 5):
        close(result[n, 0, y, x], (1 - max(float(maps[n, k, y, x]) for k in range(3))) ** power)


@pytest.mark.parametrize("seed", SEEDS)
def test_confident_labels(seed: int) -> None:
    low, high = np.random.default_rng(seed).integers(0, 4, (2, 7, 8))
    expected = [[confident_loop(int(a), int(b)) for a, b in zip(*rows)] for rows in zip(low, high)]
    assert confident_labels(torch.tensor(low), torch.tensor(high)).tolist() == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_cell_labels(seed: int) -> None:
    """The most frequent label of a block; each block here has one of which there is more than of others together."""
    rng = np.random.default_rng(seed)
    coarse = label_case(seed, 4, 6)
    labels = coarse.repeat(3, 1).repeat(3, 2)
    for n, y, x in np.ndindex(coarse.shape):
        for at in rng.permutation(9)[:4]:
            labels[n, 3 * y + at // 3, 3 * x + at % 3] = rng.choice([0, 1, 2, IGNORED])
    assert cell_labels(torch.tensor(labels), 3).tolist() == coarse.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_affinity_labels(seed: int) -> None:
    height, width = REACH + 3 + seed, 2 * REACH + 4 - seed % 3
    labels = label_case(seed, height, width)
    offsets = [tuple(offset) for offset in disc_offsets(RADIUS)]
    result = affinity_labels(torch.tensor(labels), disc_offsets(RADIUS))
    shape = (2, len(offsets), height - REACH, width - 2 * REACH)
    expected = {name: np.zeros(shape, bool) for name in result._fields}
    for n, grid in enumerate(labels.tolist()):
        for y, x, v, u in pairs_loop(height, width):
            kind = kind_loop(grid[y][x], grid[v][u])
            if kind is not None and has_all_partners(y, x, height, width):
                expected[kind][n, offsets.index((v - y, u - x)), y, x - REACH] = True
    for name, where in expected.items():
        assert where.any(), "the case has no such pair"
        assert np.array_equal(getattr(result, name).numpy(), where), name


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("only", [None, 0, 1, IGNORED])
@pytest.mark.parametrize("seed", range(3))
def test_affinity_losses(seed: int, only: int | None, stride: int) -> None:
    """Over mixed labels, and over one label everywhere, where two or all three terms have no pair."""
    height, width = REACH + 2 + seed, 2 * REACH + 3
    labels = label_case(seed, height, width)
    if only is not None:
        labels[:] = only
    offsets = [tuple(offset) for offset in disc_offsets(RADIUS)]
    affinities = np.random.default_rng(seed).uniform(0.05, 0.95, (2, len(offsets), height, width))
    result = affinity_losses(
        torch.tensor(affinities),
        torch.tensor(labels.repeat(stride, 1).repeat(stride, 2)),
        stride,
        disc_offsets(RADIUS),
    )
    close(sum(float(loss) for loss in result.values()), loss_loop(affinities, labels.tolist(), offsets))


@pytest.mark.parametrize("seed", range(3))
def test_pair_affinities(seed: int) -> None:
    """exp(-mean |difference of features|) (Eq. 3)."""
    features = np.random.default_rng(seed).normal(0, 1, (2, 3, 6, 7))
    offsets = [tuple(offset) for offset in disc_offsets(RADIUS)]
    result = pair_affinities(torch.tensor(features), disc_offsets(RADIUS))
    for n in range(2):
        for y, x, v, u in pairs_loop(6, 7):
            distance = sum(abs(float(features[n, f, y, x] - features[n, f, v, u])) for f in range(3)) / 3
            close(result[n, offsets.index((v - y, u - x)), y, x], math.exp(-distance))


@pytest.mark.parametrize(("beta", "logt"), [(1.0, 0), (8.0, 2), (8.0, 6), (10.0, 8)])
@pytest.mark.parametrize("size", [(4, 6), (7, 3), (1, 8)])
def test_random_walk(size: tuple[int, int], beta: float, logt: int) -> None:
    rng = np.random.default_rng(logt)
    offsets = [tuple(offset) for offset in disc_offsets(RADIUS)]
    affinities, scores = rng.random((2, len(offsets), *size)), rng.random((2, 3, *size))
    scores[:, 0] = 0.39  # a constant background comes out of the walk unchanged
    transition = SparseTransition(disc_offsets(RADIUS), torch.tensor(affinities), beta)
    result = random_walk(torch.tensor(scores), transition, 2**logt)
    for n in range(2):
        dense = transition_loop(affinities[n], offsets, beta)
        expected = walk_loop(scores[n].reshape(3, -1).tolist(), dense, logt)
        close(result[n].flatten(1), expected)
        close(result[n, 0], np.full(size, 0.39))
        assert logt > 2 or np.ptp(expected[1]) > 0.01, "so short a walk has not levelled everything"
