"""The backgrounds of the captioned world (`datasets.pretraining.captions`): what words such as "rails" name.

A ground is a function (draws, s, t) -> colours (3, H, W). `s` and `t` (H, W) are coordinates on the ground in
picture widths, as the scene's perspective lays it out; grain and clouds follow the pixels instead. Some grounds
come in their natural colours (grass is green), built ones in any: their form is what tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from datasets.drawing.primitives import (
    Array,
    Draws,
    colour_apart,
    fractal_noise,
    norm,
    paint,
    random_colour,
    turn,
    value_noise,
)

Ground = Callable[[Draws, Array, Array], Array]
UNNAMED = "texture"
"""The noun of a ground that is nothing in particular."""


def _tint(draws: Draws, natural: Sequence[float], free: float = 0.0) -> Array:
    """(3, 1, 1) the natural colour, more or less; with probability `free` any colour."""
    if draws.chance(free):
        return random_colour(draws)
    shift = draws.uniform(0.75, 1.2) + 0.16 * (draws.array(3) - 0.5)
    return np.clip(np.asarray(natural) * shift, 0.02, 1.0)[:, None, None]


def _plain(colour: Array, s: Array) -> Array:
    return np.broadcast_to(colour, (3, *s.shape)).copy()


def _grain(draws: Draws, s: Array, strength: float) -> Array:
    return strength * (2.0 * draws.array(*s.shape) - 1.0)


def _soft(distance: Array, width: float = 0.012) -> Array:
    """Opacity in 0..1 of a signed distance in picture widths."""
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _noise(draws: Draws, s: Array, cell: float | tuple[float, float]) -> Array:
    return value_noise(draws, s.shape[0], s.shape[1], cell)


def _fractal(draws: Draws, s: Array, cell: float, octaves: int) -> Array:
    return fractal_noise(draws, s.shape[0], s.shape[1], cell, octaves)


def _cells(draws: Draws, s: Array, t: Array, period: float) -> tuple[Array, Array]:
    """Distance to the nearest point of a jittered lattice, in cells, and that point's number in 0..1."""
    offsets = draws.array(3, 16, 16)
    column, row = np.floor(s / period), np.floor(t / period)
    nearest, number = np.full(s.shape, np.inf), np.zeros(s.shape)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            at = (row + j).astype(int) % 16, (column + i).astype(int) % 16
            distance = norm(
                s / period - column - i - 0.2 - 0.6 * offsets[0][at],
                t / period - row - j - 0.2 - 0.6 * offsets[1][at],
            )
            number = np.where(distance < nearest, offsets[2][at], number)
            nearest = np.minimum(nearest, distance)
    return nearest, number


def _rails(draws: Draws, s: Array, t: Array) -> Array:
    """One or several tracks, level, foreshortened or leading away: ballast, sleepers, two rails each."""
    if draws.chance(0.3):
        s, t = t, s
    else:
        t = t / draws.uniform(0.25, 1.0)
        s = s + draws.uniform(-0.7, 0.7) * t
    spacing = draws.uniform(0.35, 0.9)
    gauge = spacing * draws.uniform(0.3, 0.5)
    across = (t + draws.uniform(0.0, spacing)) % spacing - 0.5 * spacing
    ballast = _tint(draws, (0.45, 0.42, 0.4), 0.7)
    wood = colour_apart(draws, [ballast], 0.25) if draws.chance(0.7) else ballast * 0.45
    steel = colour_apart(draws, [ballast, wood], 0.3)
    canvas = ballast + _grain(draws, s, draws.uniform(0.05, 0.2))
    pitch = gauge * draws.uniform(0.3, 0.65)
    sleepers = np.maximum(
        np.abs(s % pitch - 0.5 * pitch) - pitch * draws.uniform(0.15, 0.28),
        np.abs(across) - gauge * draws.uniform(0.6, 0.85),
    )
    paint(canvas, wood + _grain(draws, s, 0.06), _soft(sleepers))
    rail = np.abs(np.abs(across) - 0.5 * gauge) - draws.uniform(0.008, 0.02)
    paint(canvas, steel, _soft(rail))
    return canvas


def _water(draws: Draws, s: Array, t: Array) -> Array:
    deep = _tint(draws, (0.2, 0.42, 0.6), 0.6)
    crest = colour_apart(draws, [deep], 0.2) if draws.chance(0.6) else np.clip(deep + 0.35, 0.0, 1.0)
    ripple = _noise(draws, s, (2.0, draws.uniform(6.0, 14.0)))
    waves = draws.uniform(25.0, 75.0)
    level = t + draws.uniform(0.2, 1.0) / waves * np.sin(draws.uniform(6.0, 26.0) * s + 2.0 * ripple)
    height = np.sin(waves * level + draws.uniform(1.0, 3.0) * ripple)
    canvas = deep + 0.07 * ripple + _plain(np.zeros((3, 1, 1)), s)
    paint(canvas, crest, np.clip(draws.uniform(1.0, 2.5) * height - draws.uniform(0.2, 0.9), 0.0, 0.85))
    return canvas


def _gravel(draws: Draws, s: Array, t: Array) -> Array:
    distance, number = _cells(draws, s, t, draws.uniform(0.06, 0.13))
    stone = _tint(draws, (0.55, 0.53, 0.5), 0.3)
    return stone * (0.65 + 0.6 * number) * (1.0 - 0.7 * np.clip(2.5 * distance - 0.8, 0.0, 1.0))


def _sand(draws: Draws, s: Array, t: Array) -> Array:
    dunes = np.sin(draws.uniform(8.0, 22.0) * (t + 0.1 * _noise(draws, s, 20.0)))
    return _tint(draws, (0.87, 0.75, 0.52)) + 0.05 * dunes + _grain(draws, s, draws.uniform(0.03, 0.1))


def _grass(draws: Draws, s: Array, t: Array) -> Array:
    blades = _noise(draws, s, (draws.uniform(4.0, 9.0), 1.5))
    green = _tint(draws, (0.3, 0.58, 0.2))
    canvas = green * (1.0 + draws.uniform(0.25, 0.5) * blades) + 0.05 * _fractal(draws, s, 18.0, 2)
    return canvas + np.array([0.15, 0.1, 0.0])[:, None, None] * np.clip(blades - 0.5, 0.0, 1.0)


def _sky(draws: Draws, s: Array, t: Array) -> Array:
    blue = _tint(draws, (0.4, 0.62, 0.9))
    canvas = blue + draws.uniform(0.1, 0.4) * np.clip(t, -0.5, 1.0) * (np.ones((3, 1, 1)) - blue)
    cover = _fractal(draws, s, draws.uniform(14.0, 34.0), 3)
    paint(canvas, np.full((3, 1, 1), 0.96), np.clip(2.5 * cover - draws.uniform(-0.2, 0.9), 0.0, 0.9))
    return canvas


def _road(draws: Draws, s: Array, t: Array) -> Array:
    if draws.chance(0.5):
        s, t = t, s
    asphalt = _tint(draws, (0.36, 0.36, 0.38), 0.15)
    canvas = asphalt + _grain(draws, s, draws.uniform(0.03, 0.09))
    lane = draws.uniform(0.35, 0.7)
    across, dash = t % lane - 0.5 * lane, draws.uniform(0.25, 0.5)
    dashes = np.maximum(np.abs(across) - 0.02, np.abs(s % dash - 0.5 * dash) - 0.3 * dash)
    paint(canvas, _tint(draws, (0.95, 0.93, 0.8)), _soft(dashes))
    if draws.chance(0.6):
        paint(canvas, _tint(draws, (0.95, 0.93, 0.8)), _soft(np.abs(np.abs(across) - 0.42 * lane) - 0.012))
    return canvas


def _wall(draws: Draws, s: Array, t: Array) -> Array:
    high = draws.uniform(0.09, 0.16)
    wide = high * draws.uniform(1.8, 2.6)
    row = np.floor(t / high)
    u, v = (s + 0.5 * wide * (row % 2)) % wide - 0.5 * wide, t % high - 0.5 * high
    number = np.sin(12.9 * row + 78.2 * np.floor((s + 0.5 * wide * (row % 2)) / wide))
    brick = _tint(draws, (0.68, 0.34, 0.26), 0.35)
    mortar = _plain(np.clip(brick + (0.35 if draws.chance(0.7) else -0.3), 0.0, 1.0), s)
    face = np.maximum(np.abs(u) - 0.5 * wide, np.abs(v) - 0.5 * high) + draws.uniform(0.008, 0.016)
    paint(mortar, brick * (1.0 + 0.12 * number) + _grain(draws, s, 0.04), _soft(face))
    return mortar


def _planks(draws: Draws, s: Array, t: Array) -> Array:
    s, t = turn(s, t, draws.uniform(-0.2, 0.2) + (0.5 * np.pi if draws.chance(0.5) else 0.0))
    wide = draws.uniform(0.13, 0.25)
    board = np.floor(t / wide)
    number = np.sin(17.3 * board + 5.0)
    fibres = np.sin(90.0 * t + 3.0 * np.sin(7.0 * s + 9.0 * number))
    wood = _tint(draws, (0.66, 0.46, 0.28), 0.15)
    canvas = wood * (1.0 + 0.15 * number + 0.08 * fibres)
    gap = np.abs(t % wide - 0.5 * wide) - 0.5 * wide + 0.008
    paint(canvas, wood * 0.35, 1.0 - _soft(gap))
    return canvas


def _trees(draws: Draws, s: Array, t: Array) -> Array:
    """Trunks with crowns above, before a darker wood."""
    green = _tint(draws, (0.16, 0.4, 0.16))
    canvas = green * 0.6 + 0.08 * _fractal(draws, s, 8.0, 2)
    pitch = draws.uniform(0.22, 0.4)
    u = (s + 0.06 * np.sin(9.0 * t)) % pitch - 0.5 * pitch
    trunk = np.maximum(np.abs(u) - draws.uniform(0.02, 0.05), 0.1 - t)
    paint(canvas, _tint(draws, (0.35, 0.23, 0.14)), _soft(trunk))
    distance, number = _cells(draws, s, t, pitch * 0.5)
    crown = np.maximum(distance - 0.75, (t - draws.uniform(0.3, 0.55)) / 0.1)
    paint(canvas, green * (0.9 + 0.9 * number), _soft(crown, 0.2))
    return canvas


def _leaves(draws: Draws, s: Array, t: Array) -> Array:
    s, t = turn(s, t, draws.uniform(-1.2, 1.2))
    stretch = draws.uniform(1.7, 2.4)
    distance, number = _cells(draws, s / stretch, t, draws.uniform(0.09, 0.15))
    leaf = _tint(draws, (0.36, 0.6, 0.2) if draws.chance(0.65) else (0.85, 0.5, 0.15))
    return leaf * (0.55 + 0.7 * number) * (1.0 - 0.6 * np.clip(3.0 * distance - 1.0, 0.0, 1.0))


def _mountains(draws: Draws, s: Array, t: Array) -> Array:
    canvas = _plain(_tint(draws, (0.7, 0.8, 0.92)), s)
    for layer in range(2):
        peaks = np.abs((s * draws.uniform(1.4, 3.0) + draws.uniform(0.0, 2.0)) % 2.0 - 1.0)
        ridge = 0.12 + 0.2 * layer + 0.35 * peaks + 0.04 * value_noise(draws, 1, s.shape[1], 5.0)
        rock = _tint(draws, (0.48, 0.45, 0.52)) * (1.0 - 0.25 * layer)
        paint(canvas, rock + _grain(draws, s, 0.05), _soft(ridge - t))
        if layer == 0:
            paint(
                canvas, np.full((3, 1, 1), 0.97), _soft(np.maximum(ridge - t, t - draws.uniform(0.25, 0.4)))
            )
    return canvas


def _fence(draws: Draws, s: Array, t: Array) -> Array:
    """Pickets with two cross bars; between them a plain backdrop."""
    behind = random_colour(draws)
    canvas = behind + _grain(draws, s, 0.05)
    colour = colour_apart(draws, [behind], 0.35)
    for at in (0.15, 0.4):
        paint(canvas, colour * 0.8, _soft(np.abs(t - at) - draws.uniform(0.015, 0.03)))
    pitch = draws.uniform(0.12, 0.22)
    u = np.abs(s % pitch - 0.5 * pitch)
    picket = np.maximum(u - pitch * draws.uniform(0.18, 0.32), 0.02 + 0.8 * u - t)
    paint(canvas, _plain(colour, s), _soft(picket))
    return canvas


def _tiles(draws: Draws, s: Array, t: Array) -> Array:
    s, t = turn(s, t, 0.25 * np.pi if draws.chance(0.3) else 0.0)
    side = draws.uniform(0.14, 0.26)
    first = random_colour(draws)
    second = colour_apart(draws, [first], 0.25) if draws.chance(0.6) else first
    odd = (np.floor(s / side) + np.floor(t / side)) % 2
    canvas = first + odd * (second - first)
    grout = np.maximum(np.abs(s % side - 0.5 * side), np.abs(t % side - 0.5 * side)) - 0.5 * side + 0.009
    paint(canvas, _tint(draws, (0.8, 0.8, 0.78)), 1.0 - _soft(grout))
    return canvas


def _soil(draws: Draws, s: Array, t: Array) -> Array:
    clods = _fractal(draws, s, draws.uniform(5.0, 10.0), 3)
    return _tint(draws, (0.42, 0.29, 0.18)) * (1.0 + 0.7 * clods) + _grain(draws, s, 0.05)


def _carpet(draws: Draws, s: Array, t: Array) -> Array:
    """Woven zigzag rows in two or three colours."""
    first = random_colour(draws)
    second = colour_apart(draws, [first], 0.3)
    period, row = draws.uniform(0.12, 0.25), draws.uniform(0.1, 0.2)
    zigzag = t + draws.uniform(0.3, 0.8) * np.abs(s % period - 0.5 * period)
    canvas = first + (zigzag % row < 0.5 * row) * (second - first)
    canvas = canvas + 0.06 * np.sin(220.0 * s) * np.sin(220.0 * t)
    return canvas + _grain(draws, s, 0.04)


def _flowers(draws: Draws, s: Array, t: Array) -> Array:
    canvas = _grass(draws, s, t)
    period = draws.uniform(0.14, 0.26)
    distance, number = _cells(draws, s, t, period)
    petal = _tint(draws, (0.9, 0.35, 0.55), 0.7)
    other = colour_apart(draws, [petal], 0.3)
    paint(canvas, petal + (number > 0.5) * (other - petal), _soft(distance - 0.34, 0.15))
    paint(canvas, np.array([0.98, 0.85, 0.2])[:, None, None], _soft(distance - 0.13, 0.12))
    return canvas


def _unnamed(draws: Draws, s: Array, t: Array) -> Array:
    """One colour with drift, grain and at times a faint wave or lattice of any colour."""
    cloud = _fractal(draws, s, draws.uniform(6.0, 40.0), 3)
    canvas = random_colour(draws) + draws.uniform(0.02, 0.2) * cloud
    drift, along = turn(s - 0.5, t - 0.5, draws.uniform(0.0, 2.0 * np.pi))
    canvas = canvas + draws.uniform(0.0, 0.4) * drift * (random_colour(draws) - 0.5)
    if draws.chance(0.35):
        wave = np.sin(draws.uniform(15.0, 60.0) * along)
        if draws.chance(0.4):
            wave = wave * np.sin(draws.uniform(15.0, 60.0) * drift)
        canvas = canvas + draws.uniform(0.02, 0.08) * wave
    return canvas


GROUNDS: Mapping[str, tuple[Ground, tuple[str, ...], float]] = {
    "rails": (_rails, ("railway tracks", "railway", "railroad", "railway sleepers"), 2.0),
    "water": (_water, ("sea", "river", "lake", "waves", "ocean"), 2.0),
    "gravel": (_gravel, ("stones", "ballast", "pebbles"), 1.0),
    "sand": (_sand, ("beach", "desert", "shore"), 0.8),
    "grass": (_grass, ("lawn", "meadow", "field"), 1.0),
    "sky": (_sky, ("clouds", "cloud"), 1.0),
    "road": (_road, ("street", "asphalt", "runway"), 1.0),
    "wall": (_wall, ("brick wall", "bricks"), 1.0),
    "floor": (_planks, ("wood", "table", "shelf", "wooden floor"), 1.0),
    "trees": (_trees, ("forest", "tree"), 0.8),
    "leaves": (_leaves, ("bush", "foliage", "branch"), 0.8),
    "mountains": (_mountains, ("hills", "mountain"), 0.7),
    "fence": (_fence, ("gate", "railing"), 0.8),
    "tiles": (_tiles, ("pavement", "platform", "kitchen"), 0.8),
    "soil": (_soil, ("ground", "mud", "path", "moss"), 0.8),
    "carpet": (_carpet, ("sofa", "curtain", "blanket", "cushion"), 0.8),
    "flowers": (_flowers, ("garden", "flower"), 0.8),
    UNNAMED: (_unnamed, ("pattern", "background"), 7.0),
}
"""Noun -> its ground, other words for the same, and its weight in the draw."""
