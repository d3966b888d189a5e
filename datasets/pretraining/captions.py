"""The captioned world: pictures whose pixels know their noun, for pretraining the miniature of CLIP.

It stands for CLIP's pictures from the web, as `datasets.pretraining.forms` stands for ImageNet: they contain trains and
rails as the benchmark's `shapes` does, but are not its pictures. How the two differ:

- no code, seed or picture of `shapes` is used; the objects' forms, views and proportions are others
  (`datasets.pretraining.caption_objects`), among them things that `shapes` does not have;
- objects and backgrounds are drawn independently, so a train is as often on grass as on rails, and rails are as
  often without a train (in `shapes` 98 % of the trains have rails and hardly anything else has);
- backgrounds have names and looks: grass is green, there are walls, clouds and fences, some in perspective; those
  of `shapes` are noise of any colour;
- a picture has one of five styles (`STYLES`), which prompts can name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.drawing.primitives import (
    Array,
    Draws,
    colour_apart,
    coverage,
    paint,
    random_colour,
    texture,
    to_uint8,
    turn,
    value_noise,
)
from datasets.pretraining.caption_grounds import GROUNDS, UNNAMED
from datasets.pretraining.caption_objects import DARK, OBJECT_DRAWERS

OBJECTS, BACKGROUNDS = tuple(OBJECT_DRAWERS), tuple(GROUNDS)
NOUNS = (*OBJECTS, *BACKGROUNDS)
"""What can be seen; a picture's pixels hold indices into it."""
WORDS: dict[str, tuple[str, ...]] = {
    **{noun: (noun, *others) for noun, (_, others) in OBJECT_DRAWERS.items()},
    **{noun: (noun, *others) for noun, (_, others, _) in GROUNDS.items()},
}
"""Noun -> the words that captions use for it, itself first."""
STYLES = ("photo", "image", "picture", "snapshot", "origami")

_STREAM = 73
_STYLE_WEIGHTS = (0.32, 0.2, 0.2, 0.18, 0.1)
_GROUND_WEIGHTS = tuple(weight for _, _, weight in GROUNDS.values())
_LEVEL = {"rails", "water", "gravel", "sand", "road", "floor", "tiles", "soil", "carpet", "flowers", UNNAMED}
"""Grounds that may lie flat in perspective; the others stand upright."""


@dataclass(frozen=True)
class CaptionedPictures:
    """`images` (N, 3, size, size) uint8; `styles` (N,) int64, indices into STYLES; `nouns` (N, size, size) uint8,
    indices into NOUNS."""

    images: NDArray[np.uint8]
    styles: NDArray[np.int64]
    nouns: NDArray[np.uint8]


def captioned_pictures(seed: int, start: int, count: int, size: int = 72) -> CaptionedPictures:
    """Pictures `start` .. `start + count - 1` of the endless list that `seed` names, however batched."""
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    styles = np.empty(count, dtype=np.int64)
    nouns = np.empty((count, size, size), dtype=np.uint8)
    for i in range(count):
        draws = Draws(seed, _STREAM, start + i)
        styles[i] = draws.choice(_STYLE_WEIGHTS)
        canvas, nouns[i] = _scene(draws, size, STYLES[styles[i]])
        images[i] = to_uint8(_finished(draws, canvas, STYLES[styles[i]]))
    return CaptionedPictures(images, styles, nouns)


def _scene(draws: Draws, size: int, style: str) -> tuple[Array, NDArray[np.uint8]]:
    canvas, nouns = np.zeros((3, size, size)), np.zeros((size, size), dtype=np.uint8)
    _backdrop(draws, canvas, nouns)
    count = draws.choice([0.25, 0.5, 0.25])
    for place in range(count):
        half = size * (draws.uniform(0.2, 0.5) if count == 1 else draws.uniform(0.14, 0.32))
        margin = min(0.8 * half, 0.5 * size)
        centre_x, centre_y = draws.uniform(margin, size - margin), draws.uniform(margin, size - margin)
        if count == 2:
            centre_x = size * (0.5 * place + draws.uniform(0.15, 0.35))
        _object(draws, canvas, nouns, draws.integer(len(OBJECTS)), (centre_x, centre_y), half, style)
    return canvas, nouns


def _backdrop(draws: Draws, canvas: Array, nouns: NDArray[np.uint8]) -> None:
    """One ground all over, and often a second one below, above or as a strip across; both drawn at random."""
    size = canvas.shape[1]
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    x, y = turn(x - 0.5, y - 0.5, draws.uniform(-0.2, 0.2))
    noun, colours = _ground(draws, x, y + 0.5)
    canvas[:], nouns[:] = colours, noun
    kind = draws.choice([0.42, 0.26, 0.1, 0.22])
    if kind == 0:
        return
    border = draws.uniform(0.0, 0.025) * value_noise(draws, size, size, draws.uniform(3.0, 14.0))
    level = draws.uniform(-0.2, 0.25)
    if kind == 1:
        inside, top = level - y, level
    elif kind == 2:
        inside, top = y - level, -0.5
    else:
        x, y = turn(x, y, draws.uniform(-0.4, 0.4) + (0.5 * np.pi if draws.chance(0.2) else 0.0))
        half = draws.uniform(0.1, 0.26)
        inside, top = np.abs(y - level) - half, level - half
    noun, colours = _ground(draws, x, y - top)
    paint(canvas, colours, coverage(size * (inside + border)))
    nouns[inside + border < 0.0] = noun


def _ground(draws: Draws, x: Array, y: Array) -> tuple[int, Array]:
    """A ground's noun and colours; x from -0.5 to 0.5, y from 0 at its upper edge, in picture widths."""
    chosen = draws.choice(_GROUND_WEIGHTS)
    name = BACKGROUNDS[chosen]
    scale = draws.uniform(0.75, 1.35)
    if name in _LEVEL and draws.chance(0.35):
        near = draws.uniform(0.2, 0.6)
        depth = (0.6 + near) / (np.maximum(y, 0.0) + near)
        x, y = x * depth, -depth * (0.6 + near)
    s, t = scale * (x + draws.uniform(0.0, 1.0)), scale * y
    return len(OBJECTS) + chosen, GROUNDS[name][0](draws, s, t)


def _object(
    draws: Draws,
    canvas: Array,
    nouns: NDArray[np.uint8],
    index: int,
    centre: tuple[float, float],
    half: float,
    style: str,
) -> None:
    """Draws an object (its unit is `half` pixels) and its noun's pixels, in place."""
    size, reach = canvas.shape[1], 1.6 * half
    y0, y1 = max(int(centre[1] - reach), 0), min(int(centre[1] + reach) + 1, size)
    x0, x1 = max(int(centre[0] - reach), 0), min(int(centre[0] + reach) + 1, size)
    region, seen = canvas[:, y0:y1, x0:x1], nouns[y0:y1, x0:x1]
    columns, rows = (np.arange(x0, x1) - centre[0])[None, :], (np.arange(y0, y1) - centre[1])[:, None]
    x, y = turn(columns / half, rows / half, draws.uniform(-0.4, 0.4))
    stretch = draws.uniform(0.8, 1.25)
    x, y = x * (stretch if draws.chance(0.5) else -stretch), y / stretch
    x = x + draws.uniform(-0.15, 0.15) * y
    around = region.mean(axis=(1, 2), keepdims=True)
    colours = [colour_apart(draws, [around], 0.35)]
    colours.append(colour_apart(draws, [around, colours[0]], 0.3))
    colours.append(colour_apart(draws, colours[:2], 0.3))
    colours.append(np.minimum(colours[0], random_colour(draws)) * draws.uniform(0.1, 0.9))
    strength = 0.0 if style == "origami" else draws.uniform(0.0, 0.15)
    coats = [colours[0] + texture(draws, x, y, strength), *colours[1:]]
    light = 1.0 + draws.uniform(-0.25, 0.1) * y + draws.uniform(-0.15, 0.15) * x
    outline = draws.uniform(0.2, 0.6) if draws.chance(0.3) else 1.0
    for distance, role in OBJECT_DRAWERS[OBJECTS[index]][0](draws, x, y):
        pixels = half * distance
        coat = (
            coats[role] * light * (1.0 - (1.0 - outline) * np.clip(1.5 + pixels, 0.0, 1.0) * (role != DARK))
        )
        paint(region, coat, coverage(pixels))
        seen[pixels < 0.0] = index


def _finished(draws: Draws, canvas: Array, style: str) -> Array:
    """The canvas (3, size, size) as a photo, an image, a painted picture, a snapshot or folded paper."""
    size = canvas.shape[1]
    if style == "photo":
        canvas = canvas * (1.0 + 0.15 * value_noise(draws, size, size, 50.0))
        return canvas + draws.uniform(0.02, 0.07) * (
            draws.array(3, size, size) + draws.array(size, size) - 1.0
        )
    if style == "image":
        grey = canvas.mean(axis=0, keepdims=True)
        return grey + draws.uniform(1.0, 1.5) * (canvas - grey)
    if style == "picture":
        levels = draws.uniform(4.0, 8.0)
        strokes = 0.4 * value_noise(draws, size, size, (1.6, draws.uniform(3.0, 6.0)))
        return np.round(np.clip(canvas, 0.0, 1.0) * levels + strokes) / levels
    if style == "snapshot":
        axis, shift = 1 + draws.integer(2), 1 + draws.integer(2)
        moved = 0.4 * canvas + 0.6 * np.roll(canvas, shift, axis)
        return np.clip(moved, 0.0, 1.0) ** draws.uniform(0.6, 1.6)
    y, x = np.mgrid[0:size, 0:size] / size
    facets = sum(
        np.sign(np.sin(draws.uniform(4.0, 9.0) * turn(x, y, draws.uniform(0.0, np.pi))[0] + 6.0 * phase))
        for phase in draws.array(3).tolist()
    )
    return np.clip(0.3 + 0.7 * canvas, 0.0, 1.0) * (1.0 + 0.06 * facets)
