"""Low-level drawing with numpy: random streams, signed distances, noise, textures and compositing.

Everything is computed in float64 from analytic formulas and uniform doubles, so that pictures do not
depend on a rasteriser's version. Distances are negative inside; `x`, `y` are arrays of one shape (H, W) in
any unit, y pointing down. Colours are RGB in 0..1, of shape (3, 1, 1); a canvas is (3, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Point = tuple[float, float]


class Draws:
    """A stream of random numbers named by integers; equal names give equal streams on every machine.

    Only `Generator.random` is used: numpy promises the stream of uniform doubles, not that of derived
    distributions.
    """

    def __init__(self, *name: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(name)))

    def array(self, *shape: int) -> Array:
        """Uniform doubles in [0, 1)."""
        return self._generator.random(shape)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())

    def integer(self, stop: int) -> int:
        """Uniform in 0..stop-1."""
        return int(self._generator.random() * stop)

    def chance(self, probability: float) -> bool:
        return float(self._generator.random()) < probability

    def choice(self, weights: Sequence[float]) -> int:
        """Index drawn with probability proportional to `weights`."""
        position = float(self._generator.random()) * sum(weights)
        return min(int(np.searchsorted(np.cumsum(weights), position, side="right")), len(weights) - 1)

    def permutation(self, length: int) -> list[int]:
        return [int(i) for i in np.argsort(self._generator.random(length), kind="stable")]


# ---------------------------------------------------------------- signed distances


def norm(x: Array, y: Array) -> Array:
    """Euclidean length; unlike `np.hypot` it is fast and made of correctly rounded operations."""
    return np.sqrt(x * x + y * y)


def circle(x: Array, y: Array, centre: Point, radius: float) -> Array:
    return norm(x - centre[0], y - centre[1]) - radius


def ring(x: Array, y: Array, centre: Point, radius: float, half_width: float) -> Array:
    return np.abs(circle(x, y, centre, radius)) - half_width


def ellipse(x: Array, y: Array, centre: Point, radii: Point, angle: float = 0.0) -> Array:
    """First-order distance to an ellipse turned by `angle` radians; exact on the outline."""
    u, v = turn(x - centre[0], y - centre[1], -angle)
    u, v = u / radii[0], v / radii[1]
    scaled = norm(u, v)
    slope = norm(u / radii[0], v / radii[1])
    return scaled * (scaled - 1.0) / np.maximum(slope, 1e-9)


def box(x: Array, y: Array, centre: Point, half: Point, rounding: float = 0.0) -> Array:
    u = np.abs(x - centre[0]) - half[0] + rounding
    v = np.abs(y - centre[1]) - half[1] + rounding
    return norm(np.maximum(u, 0.0), np.maximum(v, 0.0)) + np.minimum(np.maximum(u, v), 0.0) - rounding


def _segment_squared(x: Array, y: Array, start: Point, end: Point) -> Array:
    dx, dy = end[0] - start[0], end[1] - start[1]
    u, v = x - start[0], y - start[1]
    along = np.clip(u * (dx / (dx * dx + dy * dy)) + v * (dy / (dx * dx + dy * dy)), 0.0, 1.0)
    u, v = u - along * dx, v - along * dy
    return u * u + v * v


def segment(x: Array, y: Array, start: Point, end: Point, half_width: float) -> Array:
    """A bar with round ends."""
    return np.sqrt(_segment_squared(x, y, start, end)) - half_width


def polyline(x: Array, y: Array, points: Sequence[Point], half_width: float) -> Array:
    """Bars from point to point."""
    squared = reduce(np.minimum, [_segment_squared(x, y, a, b) for a, b in pairwise(points)])
    return np.sqrt(squared) - half_width


def polygon(x: Array, y: Array, corners: Sequence[Point]) -> Array:
    """Any simple polygon: distance to the nearest edge, sign by crossings of a horizontal ray."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]]):
        nearest = np.minimum(nearest, _segment_squared(x, y, (x0, y0), (x1, y1)))
        if y0 != y1:
            crosses = (y < y0) != (y < y1)
            inside ^= crosses & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    nearest = np.sqrt(nearest)
    return np.where(inside, -nearest, nearest)


def union(*distances: Array) -> Array:
    return reduce(np.minimum, distances)


def intersection(*distances: Array) -> Array:
    return reduce(np.maximum, distances)


def turn(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates rotated by `angle` radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine - y * sine, x * sine + y * cosine


def coverage(distance: Array) -> Array:
    """Antialiased opacity in 0..1 of a signed distance in pixels."""
    return np.clip(0.5 - distance, 0.0, 1.0)


# ---------------------------------------------------------------- noise, colours, textures


def _lattice_weights(length: int, cell: float, phase: float) -> Array:
    """(length, n) weights that interpolate n lattice values to `length` positions with smoothstep."""
    position = np.arange(length) / cell + phase
    left = np.floor(position).astype(int)
    fraction = position - left
    fraction = fraction * fraction * (3.0 - 2.0 * fraction)
    weights = np.zeros((length, int(left[-1]) + 2))
    rows = np.arange(length)
    weights[rows, left] = 1.0 - fraction
    weights[rows, left + 1] = fraction
    return weights


def value_noise(
    draws: Draws, height: int, width: int, cell: float | Point, channels: int | None = None
) -> Array:
    """Smooth noise in [-1, 1], (height, width) or (channels, height, width); `cell`: its step in pixels."""
    cell_y, cell_x = cell if isinstance(cell, tuple) else (cell, cell)
    rows = _lattice_weights(height, cell_y, draws.uniform(0.0, 1.0))
    columns = _lattice_weights(width, cell_x, draws.uniform(0.0, 1.0))
    lattice = 2.0 * draws.array(channels or 1, rows.shape[1], columns.shape[1]) - 1.0
    smooth: Array = rows @ lattice @ columns.T
    return smooth if channels else smooth[0]


def fractal_noise(draws: Draws, height: int, width: int, cell: float, octaves: int) -> Array:
    """Value noise summed over octaves, roughly in [-1, 1]."""
    total = np.zeros((height, width))
    for octave in range(octaves):
        total += 0.6**octave * value_noise(draws, height, width, max(cell / 2.0**octave, 1.5))
    return total / sum(0.6**octave for octave in range(octaves))


def random_colours(draws: Draws, count: int) -> Array:
    """(count, 3, 1, 1) any hue, any saturation, not black: one distribution for all objects and grounds."""
    hue, saturation, value = draws.array(3, count, 1)
    ramp = np.clip(np.abs((6.0 * hue + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    colours: Array = (0.2 + 0.75 * value) * (1.0 - 0.85 * saturation * (1.0 - ramp))
    return colours[..., None, None]


def random_colour(draws: Draws) -> Array:
    """(3, 1, 1) one of `random_colours`."""
    return random_colours(draws, 1)[0]


def colour_apart(draws: Draws, others: Sequence[Array], distance: float) -> Array:
    """The first of eight random colours at `distance` (RGB, Euclidean) from `others`, or the farthest."""
    candidates = random_colours(draws, 8)
    gaps = np.linalg.norm(candidates[:, None, :, 0, 0] - np.stack(others)[None, :, :, 0, 0], axis=2).min(
        axis=1
    )
    far_enough = np.flatnonzero(gaps >= distance)
    return candidates[far_enough[0] if far_enough.size else np.argmax(gaps)]


def texture(draws: Draws, x: Array, y: Array, strength: float) -> Array:
    """(H, W) pattern in [-strength, strength]: plain, gradient, stripes, dots, checks or noise.

    `x`, `y` are local coordinates (objects are about two units long).
    """
    kind = draws.choice([2.0, 2.0, 1.5, 1.0, 1.0, 2.5])
    u, v = turn(x, y, draws.uniform(0.0, 2.0 * np.pi))
    frequency = draws.uniform(5.0, 12.0)
    if kind == 0:
        return np.zeros(x.shape)
    if kind == 1:
        return strength * np.clip(u, -1.0, 1.0)
    if kind == 2:
        return strength * np.clip(2.5 * np.sin(frequency * u), -1.0, 1.0)
    if kind == 3:
        return strength * np.clip(3.0 * (np.sin(frequency * u) * np.sin(frequency * v) - 0.3), -1.0, 1.0)
    if kind == 4:
        return strength * np.clip(4.0 * np.sin(frequency * u) * np.sin(frequency * v), -1.0, 1.0)
    return strength * fractal_noise(draws, x.shape[0], x.shape[1], draws.uniform(4.0, 10.0), 2)


def paint(canvas: Array, colour: Array, opacity: Array) -> None:
    """Lays `colour` ((3, 1, 1) or (3, H, W)) over `canvas` (3, H, W) in place; `opacity` (H, W) in 0..1."""
    canvas += opacity * (colour - canvas)


def to_uint8(canvas: Array) -> NDArray[np.uint8]:
    """8-bit pixels of the same shape."""
    return np.clip(np.rint(canvas * 255.0), 0.0, 255.0).astype(np.uint8)
