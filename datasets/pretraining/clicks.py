"""The clicked world: pictures cut into things without classes, for pretraining the miniature of SAM.

It stands for SA-1B as `datasets.pretraining.forms` stands for ImageNet, and shares its backdrops and the kinds of its
parts: things of any size, from a few pixels to most of the picture, blobs, bars, rings and thin strokes, strong or
hardly to be seen, that lie over one another. No code, seed or picture of the benchmark's data sets is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from datasets.drawing.primitives import (
    Array,
    Draws,
    colour_apart,
    coverage,
    fractal_noise,
    paint,
    polyline,
    texture,
    to_uint8,
    turn,
)
from datasets.pretraining.forms import PART_KINDS, Part, backdrop, part_distance

_STREAM = 74
_MOST_THINGS = 4
MIN_PIXELS = 48
"""Visible pixels from which on a thing may be clicked."""


@dataclass(frozen=True)
class ClickedPictures:
    """Pictures of things that are numbered from 1, by nothing but their order; 0 is the ground.

    images: (N, 3, size, size) uint8; things: (N, size, size) uint8, the thing seen at each pixel
    clicked: (N,) int64, a thing with at least MIN_PIXELS pixels, the one that a score is measured on
    """

    images: NDArray[np.uint8]
    things: NDArray[np.uint8]
    clicked: NDArray[np.int64]


def clicked_pictures(seed: int, start: int, count: int, size: int = 128) -> ClickedPictures:
    """Pictures `start` .. `start + count - 1` of the endless list that `seed` names, however batched."""
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    things = np.empty((count, size, size), dtype=np.uint8)
    clicked = np.empty(count, dtype=np.int64)
    for i in range(count):
        draws = Draws(seed, _STREAM, start + i)
        large: list[int] = []
        while not large:
            canvas, things[i] = _render(draws, size)
            large = [t for t in range(1, _MOST_THINGS + 1) if (things[i] == t).sum() >= MIN_PIXELS]
        clicked[i] = large[draws.integer(len(large))]
        images[i] = to_uint8(canvas)
    return ClickedPictures(images, things, clicked)


def innermost(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """(x, y) of the pixel of `mask` (H, W), not empty, that is farthest from what is not in it.

    The first click of interactive segmentation, and of SAM's own evaluation (Kirillov et al., ICCV 2023, Sec. 7.1).
    """
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(depth)), mask.shape)
    return int(x), int(y)


def _render(draws: Draws, size: int) -> tuple[Array, NDArray[np.uint8]]:
    """One picture (3, size, size) in 0..1 and the number of the thing at each pixel (size, size)."""
    canvas = backdrop(draws, size)
    things = np.zeros((size, size), dtype=np.uint8)
    for number in range(1, 2 + draws.integer(_MOST_THINGS)):
        _thing(draws, canvas, things, number)
    canvas += draws.uniform(0.0, 0.06) * (draws.array(3, size, size) + draws.array(size, size) - 1.0)
    return canvas, things


def _thing(draws: Draws, canvas: Array, things: NDArray[np.uint8], number: int) -> None:
    """Draws a thing, of one to three parts, and its pixels, in place."""
    size = canvas.shape[1]
    centre_x, centre_y = draws.uniform(0.1, 0.9) * size, draws.uniform(0.1, 0.9) * size
    half = size * float(np.exp(draws.uniform(np.log(0.07), np.log(0.4))))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float64)
    x, y = turn((columns - centre_x) / half, (rows - centre_y) / half, draws.uniform(0.0, 2.0 * np.pi))
    if draws.chance(0.2):
        parts = [_stroke(draws, x, y, half)]
    else:
        parts = [half * _form(draws, x, y, body=True)]
        parts += [half * _form(draws, x, y, body=False) for _ in range(draws.choice([0.5, 0.3, 0.2]))]
    around = canvas[:, int(centre_y), int(centre_x)][:, None, None]
    colour = colour_apart(draws, [around], 0.3)
    # Some are glazes through which the ground is seen, down to such as the eye has to look for.
    strength = draws.uniform(0.2, 0.6) if draws.chance(0.3) else 1.0
    shade = 1.0 + draws.uniform(-0.25, 0.25) * np.clip(y, -1.0, 1.0)
    for distance in parts:
        pattern = texture(draws, np.clip(x, -2.0, 2.0), np.clip(y, -2.0, 2.0), draws.uniform(0.0, 0.15))
        paint(canvas, (colour + pattern) * shade, strength * coverage(distance))
        things[distance < 0.0] = number
        if draws.chance(0.5):
            colour = colour_apart(draws, [around, colour], 0.3)


def _form(draws: Draws, x: Array, y: Array, body: bool) -> Array:
    """Signed distance, in units of the thing, of a part of the pretraining world, its outline uneven at times.

    body: about the centre, and larger than the others, which lie around it
    """
    direction, far = draws.uniform(0.0, 2.0 * np.pi), 0.0 if body else draws.uniform(0.4, 0.7)
    part = Part(
        kind=draws.integer(PART_KINDS),
        centre=(far * float(np.cos(direction)), far * float(np.sin(direction))),
        radius=draws.uniform(0.6, 0.9) if body else draws.uniform(0.25, 0.5),
        angle=draws.uniform(0.0, 2.0 * np.pi),
        aspect=draws.uniform(0.3, 1.0),
        numbers=tuple(draws.array(6).tolist()),
        colour=0,
        mirrored=not body and draws.chance(0.3),
    )
    distance = part_distance(part, x, y, 0.0)
    if draws.chance(0.3):
        height, width = x.shape
        uneven = fractal_noise(draws, height, width, draws.uniform(6.0, 20.0), 2)
        distance = distance + draws.uniform(0.05, 0.3) * uneven
    return distance


def _stroke(draws: Draws, x: Array, y: Array, half: float) -> Array:
    """Signed distance, in pixels, of a thin line that bends; x, y in units of `half` pixels."""
    bends = 2 + draws.integer(4)
    along = np.linspace(-1.3, 1.3, bends)
    across = draws.uniform(0.0, 0.5) * (2.0 * draws.array(bends) - 1.0)
    points = list(zip(along.tolist(), across.tolist()))
    return half * polyline(x, y, points, 0.0) - draws.uniform(0.7, 2.5)
