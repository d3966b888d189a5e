"""One picture of `shapes`: background, context region, one to three objects, their masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from datasets.drawing.primitives import (
    Array,
    Draws,
    circle,
    colour_apart,
    coverage,
    ellipse,
    fractal_noise,
    paint,
    polygon,
    random_colour,
    segment,
    texture,
    to_uint8,
    turn,
    value_noise,
)
from datasets.shapes.objects import ACCENT, BODY, CLASSES, DARK, DETAIL, Layer, Variation

SIZES = ((72, 96), (84, 84), (96, 72), (66, 90))
"""Native sizes (height, width) in pixels."""
_SIZE_WEIGHTS = (0.4, 0.25, 0.2, 0.15)
_COUNT_WEIGHTS = (0.45, 0.4, 0.15)

NAMES = tuple(c.name for c in CLASSES)
TRAIN, BOAT = NAMES.index("train"), NAMES.index("boat")
RAILS, WATER = 1, 2
"""Values in context maps."""
_CONTEXT_OF = {TRAIN: RAILS, BOAT: WATER}
_CONTEXT_WITH_CLASS, _CONTEXT_WITHOUT_CLASS = 0.98, 0.01

_MIN_VISIBLE = 0.7
"""Share of an object's pixels in the frame that later objects must leave uncovered."""
_MIN_IN_FRAME = 0.8
_PLACEMENTS = 12
_SHAPE_NUMBERS = 32


@dataclass(frozen=True)
class Picture:
    """`image` (H, W, 3), `mask` (H, W): 0 = background, i + 1 = class i, `context` (H, W); all uint8."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    context: NDArray[np.uint8]

    @property
    def labels(self) -> tuple[int, ...]:
        """Object classes (from 0) that are visible."""
        return tuple(int(v) - 1 for v in np.unique(self.mask) if v > 0)


@dataclass
class _Object:
    """An instance drawn in its own window; `top`, `left` place the window in the picture.

    `x`, `y`, `inside` and the layers' distances are (h, w); `centre`: row and column of local (0, 0).
    """

    index: int
    x: Array
    y: Array
    scale: float
    angle: float
    layers: list[Layer]
    inside: NDArray[np.bool_]
    base: float
    centre: tuple[int, int]
    top: int = 0
    left: int = 0

    def windows(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Slices of the picture and of the object's window that show the same pixels."""
        rows, columns = self.inside.shape
        y0, y1 = max(self.top, 0), min(self.top + rows, height)
        x0, x1 = max(self.left, 0), min(self.left + columns, width)
        picture = (slice(y0, max(y0, y1)), slice(x0, max(x0, x1)))
        own = (slice(y0 - self.top, max(y0, y1) - self.top), slice(x0 - self.left, max(x0, x1) - self.left))
        return picture, own


def render(seed: int, split: int, index: int) -> Picture:
    """Draws picture `index` of a split (0 = train, 1 = val); the same arguments give the same pixels."""
    draws = Draws(seed, split, 1, index)
    height, width = SIZES[draws.choice(_SIZE_WEIGHTS)]
    objects = _place(draws, _cast(draws, _primary_class(seed, split, index)), height, width)
    canvas = _background(draws, height, width)
    context = _draw_context(draws, canvas, objects)
    mask = np.zeros((height, width), dtype=np.uint8)
    for item in objects:
        _draw_object(draws, canvas, item)
        seen, own = item.windows(height, width)
        mask[seen][item.inside[own]] = item.index + 1
    context[mask > 0] = 0
    _expose(draws, canvas)
    return Picture(np.ascontiguousarray(to_uint8(canvas).transpose(1, 2, 0)), mask, context)


def _primary_class(seed: int, split: int, index: int) -> int:
    """Classes come in shuffled blocks of ten, so that every class has its share of every split."""
    block, position = divmod(index, len(CLASSES))
    return Draws(seed, split, 0, block).permutation(len(CLASSES))[position]


def _cast(draws: Draws, primary: int) -> list[int]:
    """The classes of a picture's instances, farthest first; at most one has a context."""
    cast = [primary]
    for _ in range(draws.choice(_COUNT_WEIGHTS)):
        candidate = draws.integer(len(CLASSES))
        if draws.chance(0.15):
            candidate = primary
        if candidate not in _CONTEXT_OF or not any(c in _CONTEXT_OF for c in cast):
            cast.append(candidate)
    return sorted(cast, key=lambda c: c not in _CONTEXT_OF)


def _make_object(draws: Draws, index: int, height: int, width: int) -> _Object:
    kind = CLASSES[index]
    scale = draws.uniform(*kind.scale) * np.sqrt(height * width / (96.0 * 128.0))
    angle = draws.uniform(-kind.turn, kind.turn)
    flip = -1.0 if draws.chance(0.5) else 1.0
    stretch = draws.uniform(0.88, 1.14)
    phase = draws.array(2)
    values = draws.array(_SHAPE_NUMBERS)
    wide, high = kind.reach[0] * stretch * scale, kind.reach[1] / stretch * scale
    cosine, sine = abs(np.cos(angle)), abs(np.sin(angle))
    half_y, half_x = int(np.ceil(wide * sine + high * cosine)), int(np.ceil(wide * cosine + high * sine))
    rows, columns = np.arange(-half_y, half_y + 1) + phase[0], np.arange(-half_x, half_x + 1) + phase[1]
    u, v = turn(columns[None, :], rows[:, None], -angle)
    x, y = u * (flip / (scale * stretch)), v * (stretch / scale)
    layers = kind.draw(x, y, Variation(values))
    inside = reduce(np.logical_or, [layer.distance < 0.0 for layer in layers])
    return _Object(index, x, y, scale, angle, layers, inside, (kind.base or 0.0) / stretch, (half_y, half_x))


def _place(draws: Draws, cast: list[int], height: int, width: int) -> list[_Object]:
    """Instances with positions, so that each stays visible enough; those that find no place are left out."""
    placed: list[_Object] = []
    owner = np.full((height, width), -1)
    for index in cast:
        item = _make_object(draws, index, height, width)
        for attempt in range(_PLACEMENTS):
            spread = 1.0 - attempt / (_PLACEMENTS - 1.0) if not placed else 1.0
            centre_x = width * (0.5 + spread * draws.uniform(-0.42, 0.42))
            if index in _CONTEXT_OF:
                centre_y = height * draws.uniform(0.55, 0.78) - item.base * item.scale
            else:
                centre_y = height * (0.5 + spread * draws.uniform(-0.4, 0.4))
            item.top, item.left = int(centre_y) - item.centre[0], int(centre_x) - item.centre[1]
            seen, own = item.windows(height, width)
            trial = owner.copy()
            trial[seen][item.inside[own]] = len(placed)
            in_frame = int(item.inside[own].sum()) / int(item.inside.sum())
            last = attempt == _PLACEMENTS - 1 and not placed
            if (in_frame >= _MIN_IN_FRAME or last) and _all_visible(trial, [*placed, item], height, width):
                placed.append(item)
                owner = trial
                break
    return placed


def _all_visible(owner: NDArray[np.int_], items: list[_Object], height: int, width: int) -> bool:
    for i, item in enumerate(items):
        _, own = item.windows(height, width)
        if (owner == i).sum() < _MIN_VISIBLE * item.inside[own].sum():
            return False
    return True


# ---------------------------------------------------------------- background


def _grid(height: int, width: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    return x, y


def _muted(colour: Array) -> Array:
    """Grounds are duller than objects, as photographs' are; contexts and clutter are not."""
    grey: Array = colour.mean(axis=0, keepdims=True)
    return grey + 0.35 * (colour - grey)


def _ground(draws: Draws, height: int, width: int) -> Array:
    """(3, H, W) one textured material."""
    x, y = _grid(height, width)
    colour = _muted(random_colour(draws))
    canvas = np.broadcast_to(colour, (3, height, width)).copy()
    canvas += draws.uniform(0.05, 0.22) * fractal_noise(draws, height, width, draws.uniform(10.0, 40.0), 4)
    canvas += 0.07 * value_noise(draws, height, width, draws.uniform(15.0, 40.0), 3)
    u, _ = turn((x - width / 2) / width, (y - height / 2) / height, draws.uniform(0.0, 2.0 * np.pi))
    canvas += draws.uniform(0.0, 0.3) * u * (_muted(random_colour(draws)) - 0.5)
    if draws.chance(0.3):
        canvas += texture(draws, x / 22.0, y / 22.0, draws.uniform(0.03, 0.1))
    return canvas


def _background(draws: Draws, height: int, width: int) -> Array:
    canvas = _ground(draws, height, width)
    x, y = _grid(height, width)
    if draws.chance(0.6):
        horizon = height * draws.uniform(0.25, 0.75) + draws.uniform(-0.15, 0.15) * (x - width / 2)
        horizon += draws.uniform(0.0, 6.0) * value_noise(draws, 1, width, draws.uniform(8.0, 30.0))
        paint(canvas, _ground(draws, height, width), coverage(horizon - y))
    for _ in range(2 + draws.integer(4)):
        _distractor(draws, canvas)
    return canvas


def _distractor(draws: Draws, canvas: Array) -> None:
    """A class-free piece of clutter: a lobed blob, a splinter, a pebble or a twig."""
    height, width = canvas.shape[1:]
    size = draws.uniform(2.5, 9.0)
    centre_x, centre_y = draws.uniform(0.0, width), draws.uniform(0.0, height)
    x0, x1 = max(int(centre_x - 2 * size), 0), min(int(centre_x + 2 * size) + 1, width)
    y0, y1 = max(int(centre_y - 2 * size), 0), min(int(centre_y + 2 * size) + 1, height)
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float64)
    x, y = turn(x - centre_x, y - centre_y, draws.uniform(0.0, 2.0 * np.pi))
    kind = draws.choice([3.0, 1.5, 1.5, 1.5])
    if kind == 0:
        angle = np.arctan2(y, x)
        lobes = sum(
            draws.uniform(-0.22, 0.22) * np.cos(k * angle + draws.uniform(0.0, 6.28))
            for k in (2.0, 3.0, 4.0, 5.0)
        )
        distance = circle(x, y, (0.0, 0.0), size) - size * lobes
    elif kind == 1:
        corners = [
            (size * draws.uniform(0.4, 1.3), a + draws.uniform(-0.4, 0.4)) for a in (0.0, 1.6, 3.1, 4.7)
        ]
        distance = polygon(x, y, [(r * np.cos(a), r * np.sin(a)) for r, a in corners])
    elif kind == 2:
        distance = ellipse(x, y, (0.0, 0.0), (size, size * draws.uniform(0.3, 0.9)))
    else:
        distance = segment(
            x, y, (-1.6 * size, 0.0), (1.6 * size, size * draws.uniform(-0.6, 0.6)), draws.uniform(0.6, 1.8)
        )
    colour = random_colour(draws) + texture(draws, x / size, y / size, 0.12)
    paint(canvas[:, y0:y1, x0:x1], colour, coverage(distance) * draws.uniform(0.6, 1.0))


# ---------------------------------------------------------------- contexts


def _draw_context(draws: Draws, canvas: Array, objects: list[_Object]) -> NDArray[np.uint8]:
    """Rails under a train, water under a boat, now and then alone. Returns the context map."""
    height, width = canvas.shape[1:]
    carrier = next((o for o in objects if o.index in _CONTEXT_OF), None)
    with_object, alone = draws.chance(_CONTEXT_WITH_CLASS), draws.chance(_CONTEXT_WITHOUT_CLASS)
    x, y = _grid(height, width)
    if carrier is not None and with_object:
        row, column = carrier.top + carrier.centre[0], carrier.left + carrier.centre[1]
        u, v = turn(x - column, y - row, -carrier.angle)
        kind, scale, v = _CONTEXT_OF[carrier.index], carrier.scale, v - carrier.base * carrier.scale
    elif carrier is None and alone:
        u, v = turn(x - width / 2, y - height * draws.uniform(0.5, 0.75), draws.uniform(-0.1, 0.1))
        kind, scale = (RAILS, WATER)[draws.integer(2)], draws.uniform(26.0, 36.0)
    else:
        return np.zeros((height, width), dtype=np.uint8)
    region = _rails(draws, canvas, u, v, scale) if kind == RAILS else _water(draws, canvas, u, v)
    return np.where(region < 0.0, kind, 0).astype(np.uint8)


def _rails(draws: Draws, canvas: Array, u: Array, v: Array, scale: float) -> Array:
    """Ballast, slanting sleepers and two rails along v = 0; returns the region's signed distance."""
    height, width = u.shape
    depth, lift = scale * draws.uniform(0.42, 0.62), scale * 0.16
    rough = 1.5 * value_noise(draws, height, width, 5.0)
    region = np.abs(v - depth / 2 + lift / 2) - (depth + lift) / 2 + rough
    ballast = random_colour(draws)
    grain = 0.18 * (2.0 * draws.array(height, width) - 1.0)
    paint(canvas, ballast + grain, coverage(region))
    sleeper = colour_apart(draws, [ballast], 0.3)
    pitch, slant = scale * draws.uniform(0.24, 0.36), draws.uniform(-0.5, 0.5)
    ties = np.abs((u + slant * v) % pitch - pitch / 2) - pitch * draws.uniform(0.18, 0.26)
    paint(canvas, sleeper + grain * 0.4, coverage(np.maximum(ties, region + 1.5)))
    steel = colour_apart(draws, [ballast, sleeper], 0.35)
    for at in (0.0, depth * draws.uniform(0.5, 0.65)):
        paint(canvas, steel, coverage(np.abs(v - at) - draws.uniform(0.9, 1.4)))
        paint(canvas, steel * 0.45, coverage(np.abs(v - at - 1.8) - 0.6) * 0.8)
    return region


def _water(draws: Draws, canvas: Array, u: Array, v: Array) -> Array:
    """Waves below v = 0, to the picture's edge or to a far shore; returns the region's signed distance."""
    height, width = u.shape
    surface = draws.uniform(0.8, 2.0) * np.sin(u / draws.uniform(2.5, 6.0) + draws.uniform(0.0, 6.28))
    rise = draws.uniform(3.0, 14.0)
    region = -(v + rise) + surface
    if draws.chance(0.5):
        shore = 2.0 * value_noise(draws, height, width, 9.0)
        region = np.maximum(region, v - height * draws.uniform(0.2, 0.45) + shore)
    deep = random_colour(draws)
    ripple = value_noise(draws, height, width, (2.2, draws.uniform(8.0, 14.0)))
    length = draws.uniform(5.0, 9.0)
    waves = np.sin(v * draws.uniform(1.0, 1.5) + 2.2 * np.sin(u / length + ripple) + 3.0 * ripple)
    crest = colour_apart(draws, [deep], 0.3)
    paint(canvas, deep + 0.08 * ripple, coverage(region))
    paint(canvas, crest, np.clip(1.6 * waves - 0.5, 0.0, 1.0) * 0.75 * coverage(region + 0.5))
    return region


# ---------------------------------------------------------------- objects


def _draw_object(draws: Draws, canvas: Array, item: _Object) -> None:
    seen, own = item.windows(*canvas.shape[1:])
    region = canvas[:, seen[0], seen[1]]
    x, y = item.x[own], item.y[own]
    inside = item.inside[own]
    behind = region[:, inside].mean(axis=1)[:, None, None]
    colours: dict[int, Array] = {BODY: colour_apart(draws, [behind], 0.5)}
    colours[ACCENT] = colour_apart(draws, [behind, colours[BODY]], 0.3)
    colours[DARK] = colour_apart(draws, [behind, colours[BODY]], 0.4)
    colours[DETAIL] = colour_apart(draws, [colours[BODY], colours[ACCENT], colours[DARK]], 0.35)
    patterns = {
        BODY: texture(draws, x, y, draws.uniform(0.05, 0.17)),
        ACCENT: texture(draws, x, y, draws.uniform(0.03, 0.15)),
        DETAIL: np.zeros(x.shape),
        DARK: np.zeros(x.shape),
    }
    light_x, light_y = turn(np.array(0.0), np.array(1.0), draws.uniform(-0.8, 0.8))
    shade = 1.0 - draws.uniform(0.05, 0.22) * (light_x * x + light_y * y)
    coats = {role: (colours[role] + patterns[role]) * shade for role in colours}
    for layer in item.layers:
        distance = layer.distance[own] * item.scale
        rim = 1.0 - 0.22 * np.clip(1.0 + distance / 2.5, 0.0, 1.0)
        paint(region, coats[layer.role] * rim, coverage(distance))


def _expose(draws: Draws, canvas: Array) -> None:
    """Uneven light, and sensor noise of a triangular distribution."""
    height, width = canvas.shape[1:]
    canvas *= 1.0 + draws.uniform(0.0, 0.15) * value_noise(draws, height, width, 60.0)
    grain = draws.array(2, 3, height, width)
    canvas += draws.uniform(0.01, 0.04) * (grain[0] + grain[1] - 1.0)
