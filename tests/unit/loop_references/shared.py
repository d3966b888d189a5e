"""What the references share: tolerances, resampling and the rule of pseudo-labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

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
