"""The world on which the miniature networks are pretrained: abstract objects over patterned backgrounds.

It stands for what ImageNet, DUTS and the like are to real benchmarks: another distribution with other
classes. It shares with `shapes` only the primitives of `datasets.drawing.primitives`; none of the benchmark's classes,
contexts or drawing code occurs here. A class is a fixed arrangement of two to four random parts; colour,
texture and pose vary; some instances are drawn out to long ones, some carry rows of marks. Bands, stripes,
waves and parallel lines across the picture belong to the background, so a saliency model learns to leave
them out, and to tell them from an object's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce

import numpy as np
from numpy.typing import NDArray

from datasets.drawing.primitives import (
    Array,
    Draws,
    box,
    circle,
    colour_apart,
    coverage,
    ellipse,
    fractal_noise,
    intersection,
    norm,
    paint,
    random_colour,
    ring,
    texture,
    to_uint8,
    turn,
    union,
    value_noise,
)

CLASS_COUNT = 48
PRETRAINING_CLASSES = tuple(f"form_{i:02d}" for i in range(CLASS_COUNT))
"""The classes are abstract forms; their names only number them."""

_CLASS_STREAM, _IMAGE_STREAM = 71, 72
(_BLOB, _POLYGON, _BAR, _RING, _CRESCENT, _CROSS, _HALF) = tuple(range(7))
PART_KINDS = 7
"""Number of kinds of parts."""


@dataclass(frozen=True)
class PretrainingBatch:
    """`images` (N, 3, size, size), `masks` (N, size, size) with 1 = salient: uint8; `labels` (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8]


def pretraining_batch(seed: int, start: int, count: int, size: int = 96) -> PretrainingBatch:
    """Images `start` .. `start + count - 1` of the endless list that `seed` names, however batched."""
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    masks = np.empty((count, size, size), dtype=np.uint8)
    for i in range(count):
        draws = Draws(seed, _IMAGE_STREAM, start + i)
        labels[i] = draws.integer(CLASS_COUNT)
        canvas, masks[i] = _render(draws, int(labels[i]), size)
        images[i] = to_uint8(canvas)
    return PretrainingBatch(images, labels, masks)


def _render(draws: Draws, label: int, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """One image (3, size, size) in 0..1 and its salient pixels (size, size)."""
    canvas = backdrop(draws, size)
    mask = np.zeros((size, size), dtype=bool)
    pair = draws.chance(0.25)
    for place in range(2 if pair else 1):
        half = size * (draws.uniform(0.2, 0.32) if pair else draws.uniform(0.26, 0.56))
        margin = 0.7 * half
        centre_x, centre_y = draws.uniform(margin, size - margin), draws.uniform(margin, size - margin)
        if pair:
            centre_x = size * 0.5 * place + draws.uniform(0.15, 0.35) * size
        _object(draws, canvas, mask, label, (centre_x, centre_y), half)
    canvas += draws.uniform(0.0, 0.06) * (draws.array(3, size, size) + draws.array(size, size) - 1.0)
    return canvas, mask


# ---------------------------------------------------------------- objects


@dataclass(frozen=True)
class Part:
    """A primitive of a class: kind, place, size, proportions and which of the object's colours it takes.

    kind: 0 to PART_KINDS - 1; numbers: six in [0, 1), what they mean depends on the kind
    """

    kind: int
    centre: tuple[float, float]
    radius: float
    angle: float
    aspect: float
    numbers: tuple[float, ...]
    colour: int
    mirrored: bool


@cache
def _class_parts(label: int) -> tuple[Part, ...]:
    """The fixed composition of a class: a body, then one to three parts around it."""
    draws = Draws(_CLASS_STREAM, label)
    symmetric = draws.chance(0.5)
    parts = []
    for i in range(2 + draws.integer(3)):
        direction, distance = draws.uniform(0.0, 2.0 * np.pi), 0.0 if i == 0 else draws.uniform(0.45, 0.7)
        parts.append(
            Part(
                kind=draws.integer(PART_KINDS),
                centre=(distance * float(np.cos(direction)), distance * float(np.sin(direction))),
                radius=draws.uniform(0.5, 0.7) if i == 0 else draws.uniform(0.22, 0.42),
                angle=draws.uniform(0.0, 2.0 * np.pi),
                aspect=draws.uniform(0.45, 1.0),
                numbers=tuple(draws.array(6).tolist()),
                colour=0 if i == 0 else draws.integer(3),
                mirrored=symmetric and i > 0,
            )
        )
    return tuple(parts)


def part_distance(part: Part, x: Array, y: Array, wobble: float) -> Array:
    """Signed distance (local units) of a part; `wobble` in -1..1: how the instance deviates."""
    if part.mirrored:
        x = np.abs(x)
    radius = part.radius * (1.0 + 0.15 * wobble)
    narrow = radius * part.aspect
    u, v = turn(x - part.centre[0], y - part.centre[1], part.angle + 0.2 * wobble)
    a, b, c = part.numbers[:3]
    if part.kind == _BLOB:
        distance = norm(u, v)
        unit = (u + 1j * v) / np.maximum(distance, 1e-6)
        power, lobes = unit * unit, 0.0
        for number in part.numbers[:4]:
            lobes = lobes + 0.22 * (power * np.exp(2j * np.pi * number)).real
            power = power * unit
        return distance - radius * (1.0 + lobes)
    if part.kind == _POLYGON:
        corners = 3 + int(a * 4)
        edges = 2.0 * np.pi * np.arange(corners) / corners
        sides = [u * np.cos(e) / part.aspect + v * np.sin(e) for e in edges]
        return reduce(np.maximum, sides) - radius * 0.8
    if part.kind == _BAR:
        return box(u, v, (0.0, 0.0), (radius * 1.3, radius * (0.15 + 0.3 * a)), radius * 0.14 * b)
    if part.kind == _RING:
        return ring(u, v / (0.6 + 0.4 * part.aspect), (0.0, 0.0), radius, radius * (0.1 + 0.25 * a))
    if part.kind == _CRESCENT:
        return intersection(
            circle(u, v, (0.0, 0.0), radius),
            -circle(u, v, (radius * (0.5 + 0.3 * a), 0.0), radius * (0.7 + 0.2 * b)),
        )
    if part.kind == _CROSS:
        arm = radius * (0.15 + 0.2 * a)
        return union(
            box(u, v, (0.0, 0.0), (radius, arm)), box(u, v, (radius * (c - 0.5), 0.0), (arm, narrow))
        )
    return intersection(ellipse(u, v, (0.0, 0.0), (radius, narrow)), v - narrow * (0.5 * a - 0.1))


def _object(
    draws: Draws, canvas: Array, mask: NDArray[np.bool_], label: int, centre: tuple[float, float], half: float
) -> None:
    """Draws one instance of a class (its unit is `half` pixels) and adds its pixels to `mask`, in place."""
    size = canvas.shape[1]
    length = draws.uniform(1.2, 1.7) if draws.chance(0.3) else 1.0
    reach = 1.25 * half * length
    y0, y1 = max(int(centre[1] - reach), 0), min(int(centre[1] + reach) + 1, size)
    x0, x1 = max(int(centre[0] - reach), 0), min(int(centre[0] + reach) + 1, size)
    region, seen = canvas[:, y0:y1, x0:x1], mask[y0:y1, x0:x1]
    columns, rows = (np.arange(x0, x1) - centre[0])[None, :], (np.arange(y0, y1) - centre[1])[:, None]
    x, y = turn(columns / half, rows / half, draws.uniform(-0.6, 0.6))
    stretch = draws.uniform(0.85, 1.18)
    x, y = x * (stretch if draws.chance(0.5) else -stretch) / length, y / stretch * length
    around = region.mean(axis=(1, 2), keepdims=True)
    colours = [colour_apart(draws, [around], 0.35)]
    colours.append(colour_apart(draws, [around, colours[0]], 0.3))
    colours.append(colour_apart(draws, [around, *colours], 0.3))
    pattern = texture(draws, x, y, draws.uniform(0.05, 0.2))
    light = draws.uniform(-0.3, 0.3)
    shade = 1.0 + light * y + draws.uniform(-0.1, 0.1) * x
    coats = [(colours[0] + pattern) * shade, colours[1] * shade, (colours[2] - pattern) * shade]
    for part in _class_parts(label):
        distance = half * part_distance(part, x, y, draws.uniform(-1.0, 1.0))
        edge = 1.0 - 0.2 * np.clip(1.0 + distance / 2.0, 0.0, 1.0)
        paint(region, coats[part.colour] * edge, coverage(distance))
        seen |= distance < 0.0
    if draws.chance(0.35):
        body = half * part_distance(_class_parts(label)[0], x, y, 0.0)
        marks = np.maximum(half * _row(draws, x, y), body + draws.uniform(1.0, 3.0))
        paint(region, coats[1 + draws.integer(2)], coverage(marks) * (body < 0.0))


def _row(draws: Draws, x: Array, y: Array) -> Array:
    """Signed distance (local units) of one or two rows of equal marks: boxes or discs."""
    period, fill = draws.uniform(0.15, 0.4), draws.uniform(0.25, 0.4)
    u = (x + draws.uniform(0.0, period)) % period - 0.5 * period
    v = y - draws.uniform(-0.3, 0.3)
    if draws.chance(0.4):
        v = np.abs(v) - draws.uniform(0.1, 0.25)
    if draws.chance(0.6):
        return box(u, v, (0.0, 0.0), (fill * period, draws.uniform(0.04, 0.15)))
    return circle(u, v, (0.0, 0.0), fill * period)


# ---------------------------------------------------------------- backgrounds


def backdrop(draws: Draws, size: int) -> Array:
    """(3, size, size) one or two materials, bands with patterns, and small things that are not salient."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    canvas = _material(draws, x, y)
    if draws.chance(0.5):
        level = size * draws.uniform(0.2, 0.8) + draws.uniform(-0.3, 0.3) * (x - size / 2)
        level = level + 4.0 * value_noise(draws, 1, size, 12.0)
        paint(canvas, _material(draws, x, y), coverage(level - y))
    for _ in range(draws.choice([0.4, 0.45, 0.15])):
        _band(draws, canvas, x, y)
    for _ in range(draws.integer(7)):
        _speck(draws, canvas)
    return canvas


def _material(draws: Draws, x: Array, y: Array) -> Array:
    size = x.shape[0]
    grain = draws.uniform(0.04, 0.25) * fractal_noise(draws, size, size, draws.uniform(8.0, 36.0), 3)
    drift, _ = turn(x / size - 0.5, y / size - 0.5, draws.uniform(0.0, 2.0 * np.pi))
    canvas = random_colour(draws) + grain + drift * (0.4 * random_colour(draws) - 0.2)
    if draws.chance(0.25):
        canvas += draws.uniform(0.03, 0.12) * _pattern(draws, x, y)
    return canvas


def _pattern(draws: Draws, u: Array, v: Array) -> Array:
    """(H, W) in [-1, 1], in pixels: parallel lines, waves, dashes, lattice or streaks along u."""
    kind, period = draws.integer(5), 2.0 * np.pi / draws.uniform(4.0, 14.0)
    sharp = draws.uniform(1.0, 3.0)
    if kind == 0:
        wave = np.sin(period * (v if draws.chance(0.5) else u))
    elif kind == 1:
        wave = np.sin(period * v + draws.uniform(0.6, 2.5) * np.sin(u * draws.uniform(0.08, 0.35)))
    elif kind == 2:
        wave = np.sin(period * (u + draws.uniform(-1.0, 1.0) * v))
    elif kind == 3:
        wave = np.maximum(np.sin(period * v), np.sin(period * draws.uniform(0.6, 1.6) * u))
    else:
        wave = 2.0 * value_noise(
            draws, u.shape[0], u.shape[1], (draws.uniform(1.6, 4.0), draws.uniform(8.0, 20.0))
        )
    return np.clip(sharp * wave - draws.uniform(-0.3, 0.8), -1.0, 1.0)


def _band(draws: Draws, canvas: Array, x: Array, y: Array) -> None:
    """A patterned strip across the picture: ground, fence, stream or road of no particular kind."""
    size = canvas.shape[1]
    u, v = turn(x - size / 2, y - size * draws.uniform(0.15, 0.95), draws.uniform(-0.35, 0.35))
    border = draws.uniform(0.5, 2.5) * value_noise(draws, size, size, draws.uniform(4.0, 16.0))
    region = coverage(np.abs(v) - size * draws.uniform(0.05, 0.28) + border)
    colour = random_colour(draws)
    mark = colour_apart(draws, [colour], 0.25)
    paint(canvas, colour + 0.1 * border, region)
    for _ in range(1 + draws.integer(2)):
        paint(canvas, mark, np.clip(_pattern(draws, u, v), 0.0, 1.0) * region * draws.uniform(0.5, 1.0))


def _speck(draws: Draws, canvas: Array) -> None:
    size = canvas.shape[1]
    radius = size * draws.uniform(0.015, 0.06)
    centre_x, centre_y = draws.uniform(0.0, size), draws.uniform(0.0, size)
    y0, y1 = max(int(centre_y - 2 * radius), 0), min(int(centre_y + 2 * radius) + 2, size)
    x0, x1 = max(int(centre_x - 2 * radius), 0), min(int(centre_x + 2 * radius) + 2, size)
    u, v = turn(
        (np.arange(x0, x1) - centre_x)[None, :],
        (np.arange(y0, y1) - centre_y)[:, None],
        draws.uniform(0.0, np.pi),
    )
    flat = draws.uniform(0.25, 1.0)
    if draws.chance(0.5):
        distance = ellipse(u, v, (0.0, 0.0), (radius * 1.5, radius * flat))
    else:
        distance = box(u, v, (0.0, 0.0), (radius * 1.6, radius * flat))
    paint(canvas[:, y0:y1, x0:x1], random_colour(draws), coverage(distance) * draws.uniform(0.5, 1.0))
