"""Random walks of scores over pairs of neighbouring cells (PSA, Ahn and Kwak, CVPR 2018, Eq. 9; IRNet, Eq. 8).

The published walk squares a dense (h w, h w) transition matrix logt times and multiplies the scores by it once.
Here the scores are multiplied by the sparse matrix, of which a row holds 69 entries at radius 5, without any
power of it being formed: time and memory grow with h w.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch

Offsets = tuple[tuple[int, int], ...]
"""(dy, dx) from a cell to its partner, dy >= 0: each pair of cells once, a cell and itself not at all."""

TRUNCATION = 1e-8
"""Sum of the Chebyshev coefficients that may be left out: below float32's resolution."""


def disc_offsets(radius: int) -> Offsets:
    """Offsets to the cells nearer than `radius`, right of or below a cell; 34 at radius 5 (PSA's order)."""
    right = [(0, dx) for dx in range(1, radius)]
    below = [
        (dy, dx)
        for dy in range(1, radius)
        for dx in range(1 - radius, radius)
        if dy * dy + dx * dx < radius * radius
    ]
    return (*right, *below)


class SparseTransition:
    """Transition probabilities of a batch of grids: T = A^beta, its columns divided by their sums.

    A is symmetric: 1 for a cell and itself, the affinity for the pairs at `offsets` and their mirrors, else 0.
    """

    def __init__(
        self, offsets: Sequence[tuple[int, int]], affinities: torch.Tensor, beta: float = 1.0
    ) -> None:
        """affinities: (B, P, h, w) in [0, 1], of the cell at (y, x) and the one at (y + dy, x + dx) for each
        of the P offsets (dy, dx); values of pairs that leave the grid are not looked at"""
        self.batch, _, height, width = affinities.shape
        self.size = (height, width)
        pattern = _pattern(tuple(offsets), self.size, affinities.device)
        flat = torch.cat([affinities.flatten(1), affinities.new_ones(self.batch, 1)], 1)
        weights = flat[:, pattern.sources] ** beta
        sums = weights.new_zeros(self.batch, height * width).index_add_(1, pattern.rows, weights)
        self._matrix = _block_diagonal(pattern, weights / sums[:, pattern.rows], height * width)

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """One step: scores (B * h * w, K) -> scores @ T of each grid, in the same layout."""
        return self._matrix @ scores


def random_walk(scores: torch.Tensor, transition: SparseTransition, steps: int) -> torch.Tensor:
    """scores @ T^steps for scores (B, K, h, w); a map that is constant stays what it is.

    T is similar to a symmetric matrix with eigenvalues in [-1, 1], where x^n = sum_k c_k T_k(x) in Chebyshev
    polynomials; c_k is the probability that a walk of n fair steps on a line ends at +-k and is negligible
    beyond some sqrt(n). So 256 steps take 90 multiplications (Sachdeva and Vishnoi, 2014, Sec. 3).
    """
    batch, channels, height, width = scores.shape
    previous = scores.permute(0, 2, 3, 1).reshape(-1, channels)  # T_0
    coefficients = _power_in_chebyshev(steps)
    total = coefficients[0] * previous
    if len(coefficients) > 1:
        current = transition(previous)  # T_1
        total += coefficients[1] * current
        for coefficient in coefficients[2:]:
            previous, current = current, transition(current).mul_(2).sub_(previous)
            if coefficient:
                total.add_(current, alpha=coefficient)
    return total.view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _power_in_chebyshev(power: int) -> tuple[float, ...]:
    """c with x^power = sum_k c[k] T_k(x) on [-1, 1] but for `TRUNCATION`; their sum is 1."""
    if power < 0:
        raise ValueError(f"a walk of {power} steps; give 0 or more")
    chosen, left = [], 1.0
    for k in range(power + 1):
        ways = math.comb(power, (power - k) // 2) if (power - k) % 2 == 0 else 0
        chosen.append((1 if k == 0 else 2) * ways / 2**power)
        left -= chosen[-1]
        if left < TRUNCATION:
            break
    return tuple(c / sum(chosen) for c in chosen)


class _Pattern(NamedTuple):
    """Places of the entries of one grid's matrix in CSR order, N of them.

    sources: (N,) where an entry's affinity is in the flattened (P, h, w), with P * h * w for a cell and itself
    rows, columns: (N,) cells; starts: (h * w + 1,) where each row begins
    """

    sources: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    starts: torch.Tensor


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for trainings too, whoever asks first
def _pattern(offsets: Offsets, size: tuple[int, int], device: torch.device) -> _Pattern:
    height, width = size
    area = height * width
    steps = torch.tensor([(0, 0), *offsets], device=device)
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    cell = (y * width + x).flatten()
    there_y, there_x = y.flatten() + steps[:, :1], x.flatten() + steps[:, 1:]
    inside = (there_y >= 0) & (there_y < height) & (there_x >= 0) & (there_x < width)
    pair, first = inside.nonzero(as_tuple=True)
    second = (there_y * width + there_x)[inside]
    itself = pair == 0
    source = torch.where(itself, len(offsets) * area, (pair - 1) * area + cell[first])
    mirrored = ~itself
    rows = torch.cat([first, second[mirrored]])
    columns = torch.cat([second, first[mirrored]])
    source = torch.cat([source, source[mirrored]])
    order = (rows * area + columns).argsort()
    starts = torch.zeros(area + 1, dtype=torch.int64, device=device)
    starts[1:] = torch.bincount(rows, minlength=area).cumsum(0)
    return _Pattern(source[order], rows[order], columns[order], starts)


def _block_diagonal(pattern: _Pattern, values: torch.Tensor, area: int) -> torch.Tensor:
    """CSR matrix (B * area, B * area) with the grids' matrices, values (B, N), along its diagonal."""
    batch, entries = values.shape
    grid = torch.arange(batch, device=values.device)[:, None]
    starts = (pattern.starts[:-1] + grid * entries).flatten()
    starts = torch.cat([starts, starts.new_tensor([batch * entries])])
    columns = (pattern.columns + grid * area).flatten()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        # 32-bit indices: a quarter faster, and enough for 31 million cells.
        return torch.sparse_csr_tensor(
            starts.int(),
            columns.int(),
            values.flatten(),
            (batch * area, batch * area),
            check_invariants=False,
        )
