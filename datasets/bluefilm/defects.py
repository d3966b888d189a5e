"""The four defects of `bluefilm`: what each does to the film's relief, and what it lays on top.

A defect is a function (draws, surface) -> Defect. Shapes are signed distances, so that the mask is exact: the
pixels whose centre is inside, before the lens softens them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datasets.bluefilm.surface import Surface, curve
from datasets.drawing.primitives import (
    Array,
    Draws,
    coverage,
    ellipse,
    norm,
    paint,
    polyline,
    segment,
    turn,
    value_noise,
)

NAMES = ("scratch", "foam", "indentation", "foreign matter")


@dataclass
class Coat:
    """Something that lies on the film: `colour` (3, 1, 1) or (3, H, W) seen with `opacity` (H, W)."""

    colour: Array
    opacity: Array


@dataclass
class Defect:
    """inside: (H, W) bool, the mask; relief: (H, W) added to the film's; coats: painted in order."""

    inside: NDArray[np.bool_]
    relief: Array
    coats: list[Coat] = field(default_factory=list)

    def paint(self, canvas: Array) -> None:
        for coat in self.coats:
            paint(canvas, coat.colour, coat.opacity)


def scratch(draws: Draws, surface: Surface) -> Defect:
    """One to four thin marks of about one direction: scuffed, hence pale, with a dark flank; now and then dark."""
    angle, bend = draws.uniform(0.0, 2.0 * np.pi), draws.uniform(-0.7, 0.7)
    pale = draws.chance(0.8)
    colour = np.array([0.72, 0.83, 0.93]) if pale else np.array([0.02, 0.06, 0.2])
    strength = draws.uniform(0.55, 0.95)
    defect = Defect(np.zeros(surface.shape, np.bool_), np.zeros(surface.shape))
    first = _place(draws, surface, 0.3)
    for k in range(1 + draws.choice([5.0, 3.0, 1.5, 1.0])):
        length = draws.uniform(38.0, 82.0) if k == 0 else draws.uniform(16.0, 48.0)
        turned = angle + draws.uniform(-0.25, 0.25) * (k > 0)
        sideways, ahead = (draws.uniform(-12.0, 12.0), draws.uniform(-14.0, 14.0)) if k else (0.0, 0.0)
        dx, dy = turn(np.array(ahead - length / 2), np.array(sideways), turned)
        path = curve(draws, (first[0] + float(dx), first[1] + float(dy)), turned, length, bend)
        _mark(draws, surface, defect, path, colour, strength, draws.uniform(0.8, 1.6))
    return defect


def _mark(
    draws: Draws,
    surface: Surface,
    defect: Defect,
    path: list[tuple[float, float]],
    colour: Array,
    strength: float,
    half_width: float,
) -> None:
    """A single scratch along `path`: thinner towards its ends, now fainter, now stronger."""
    (x0, y0), (x1, y1) = path[0], path[-1]
    away = polyline(surface.x, surface.y, path, 0.0)
    chord = (x1 - x0) ** 2 + (y1 - y0) ** 2
    along = np.clip(((surface.x - x0) * (x1 - x0) + (surface.y - y0) * (y1 - y0)) / max(chord, 1.0), 0.0, 1.0)
    taper = np.clip(6.0 * along * (1.0 - along) + 0.35, 0.0, 1.0)
    grain = value_noise(draws, *surface.shape, max(0.6 * surface.scale, 1.0))
    distance = (away - half_width * taper + 0.2 * grain) * surface.scale
    knots = 0.55 + 0.45 * draws.array(14)
    position = along * 12.0
    left = position.astype(int)
    uneven = knots[left] + (position - left) * (knots[left + 1] - knots[left])
    uneven *= 0.85 + 0.15 * grain
    defect.inside |= distance < 0.0
    flank = (draws.uniform(0.6, 1.1), draws.uniform(0.6, 1.1))
    beside = polyline(surface.x - flank[0], surface.y - flank[1], path, 0.0) - half_width * taper * 0.7
    shade = np.array([0.01, 0.05, 0.2])[:, None, None]
    defect.coats.append(Coat(shade, 0.45 * uneven * coverage(beside * surface.scale)))
    defect.coats.append(Coat(colour[:, None, None], strength * uneven * coverage(distance)))


def foam(draws: Draws, surface: Surface) -> Defect:
    """A torn-off piece of sealing foam that sticks to the film: pale open cells with dark pores, and its shadow."""
    centre = _place(draws, surface, 0.36)
    radius = draws.uniform(10.0, 19.0)
    x, y = surface.x - centre[0], surface.y - centre[1]
    outline = _lobed(draws, surface, x, y, radius, draws.uniform(0.6, 1.0))
    pore, edge = _cells(draws, x, y, radius * 1.5, draws.uniform(2.6, 4.2))
    ripped = outline + 1.1 * (0.5 - edge)
    distance = ripped * surface.scale
    tint = np.array([[0.93, 0.94, 0.92], [0.9, 0.86, 0.74], [0.62, 0.66, 0.7]])[draws.choice([3.0, 1.5, 1.0])]
    bulge = np.clip(-outline / radius, 0.0, 1.0)
    lit = 1.0 - 0.25 * (x * surface.light[0] + y * surface.light[1]) / radius
    lit *= 0.74 + 0.34 * np.sqrt(bulge) - draws.uniform(0.35, 0.6) * pore
    lit += 0.05 * value_noise(draws, *surface.shape, 1.6 * surface.scale)
    film = np.array([0.08, 0.2, 0.5])[:, None, None]
    colour = np.clip(lit, 0.12, 1.1) * (tint[:, None, None] + 0.22 * pore * (film - tint[:, None, None]))
    return Defect(
        distance < 0.0,
        0.25 * np.clip(1.0 - np.abs(outline) / 3.0, 0.0, 1.0),
        [_shadow(surface, ripped, 1.6), Coat(colour, coverage(distance))],
    )


def _cells(draws: Draws, x: Array, y: Array, reach: float, size: float) -> tuple[Array, Array]:
    """Worley cells about `size` across within `reach`: (H, W) darkness of their pores, and walls, both 0..1."""
    count = max(int(2.0 * reach / size), 2)
    rows, columns = np.mgrid[0:count, 0:count].astype(np.float64)
    jitter = draws.array(2, count, count)
    seeds_x = ((columns + 0.5 * (rows % 2) + 0.7 * jitter[0] - count / 2) * size).ravel()
    seeds_y = ((rows + 0.7 * jitter[1] - count / 2) * size).ravel()
    near = (np.abs(x) < reach) & (np.abs(y) < reach)
    squared = (x[near][:, None] - seeds_x) ** 2 + (y[near][:, None] - seeds_y) ** 2
    which = squared.argmin(axis=1)
    nearest = np.sqrt(squared[np.arange(len(which)), which]) / size
    deep = 0.45 + 0.55 * draws.array(count * count)
    pore, wall = np.zeros(x.shape), np.ones(x.shape)
    pore[near] = deep[which] * np.clip(1.45 - 3.2 * nearest, 0.0, 1.0)
    wall[near] = np.clip(1.3 * nearest, 0.0, 1.0)
    return pore, wall


def indentation(draws: Draws, surface: Surface) -> Defect:
    """A dent or a pressed groove: nothing but relief, so all there is to see is light and bent reflections."""
    centre = _place(draws, surface, 0.3)
    x, y = surface.x - centre[0], surface.y - centre[1]
    slope = draws.uniform(0.16, 0.34)
    if draws.chance(0.65):
        radius = draws.uniform(8.5, 17.0)
        radii = (radius, radius * draws.uniform(0.55, 1.0))
        distance = ellipse(x, y, (0.0, 0.0), radii, draws.uniform(0.0, np.pi))
        inward = np.clip(-distance / radii[1], 0.0, 1.0)
        half = radii[1]
    else:
        half, reach = draws.uniform(3.0, 5.2), draws.uniform(11.0, 25.0)
        angle = draws.uniform(0.0, np.pi)
        dx, dy = reach * float(np.cos(angle)), reach * float(np.sin(angle))
        distance = segment(x, y, (-dx, -dy), (dx, dy), half)
        inward = np.clip(-distance / half, 0.0, 1.0)
    dip = inward * inward * (3.0 - 2.0 * inward)
    rim = np.clip(1.0 - np.abs(distance - 0.8) / 1.6, 0.0, 1.0)
    relief = slope * half * (0.12 * rim - 0.62 * dip)
    return Defect(distance < 1.4, relief)  # the raised rim belongs to it


def foreign_matter(draws: Draws, surface: Surface) -> Defect:
    """Particles (metal, soot, glue, paper), or a fibre: opaque, of any colour but the film's, with a shadow."""
    defect = Defect(np.zeros(surface.shape, np.bool_), np.zeros(surface.shape))
    first = _place(draws, surface, 0.36)
    if draws.chance(0.25):
        _fibre(draws, surface, defect, first)
        return defect
    material = draws.choice([2.0, 2.0, 1.5, 1.0])
    for k in range(1 + draws.choice([5.0, 2.0, 1.5])):
        radius = draws.uniform(5.5, 11.5) if k == 0 else draws.uniform(2.5, 5.5)
        spread = 18.0 * (k > 0)
        x = surface.x - first[0] - draws.uniform(-spread, spread)
        y = surface.y - first[1] - draws.uniform(-spread, spread)
        _particle(draws, surface, defect, x, y, radius, material)
    return defect


_MATTER = np.array([[0.16, 0.12, 0.1], [0.42, 0.28, 0.16], [0.62, 0.6, 0.56], [0.86, 0.82, 0.72]])
"""Soot, rust or glue, metal, paper."""


def _particle(
    draws: Draws, surface: Surface, defect: Defect, x: Array, y: Array, radius: float, material: int
) -> None:
    """An angular chip, shaded by two or three facets."""
    corners = 5 + draws.integer(3)
    distance = np.full(x.shape, -np.inf)
    facets = np.zeros(x.shape)
    phase = draws.uniform(0.0, 2.0 * np.pi)
    for k in range(corners):
        angle = phase + (k + draws.uniform(-0.3, 0.3)) * 2.0 * np.pi / corners
        normal = (float(np.cos(angle)), float(np.sin(angle)))
        side = x * normal[0] + y * normal[1] - radius * draws.uniform(0.6, 1.05)
        facing = normal[0] * surface.light[0] + normal[1] * surface.light[1]
        facets = np.where(side > distance, facing, facets)
        distance = np.maximum(distance, side)
    distance += 0.14 * radius * value_noise(draws, *surface.shape, 2.2 * surface.scale)
    tint = _MATTER[material] * draws.uniform(0.8, 1.2)
    flat = np.clip(-distance / (0.7 * radius), 0.0, 1.0)
    lit = 1.0 - 0.45 * facets * (1.0 - flat)
    lit += 0.16 * value_noise(draws, *surface.shape, 1.5 * surface.scale)
    if material == 2:
        lit += 0.5 * np.clip(value_noise(draws, *surface.shape, 3.0 * surface.scale) - 0.35, 0.0, 1.0)
    defect.inside |= distance < 0.0
    defect.relief += 0.3 * np.clip(1.0 - np.abs(distance - 1.0) / 2.5, 0.0, 1.0)
    defect.coats.append(_shadow(surface, distance, 0.25 * radius))
    defect.coats.append(
        Coat(np.clip(lit, 0.2, 1.6) * tint[:, None, None], coverage(distance * surface.scale))
    )


def _fibre(draws: Draws, surface: Surface, defect: Defect, middle: tuple[float, float]) -> None:
    """A curled thread or hair."""
    angle, length = draws.uniform(0.0, 2.0 * np.pi), draws.uniform(32.0, 62.0)
    bend = draws.uniform(0.8, 4.2) * (1.0 if draws.chance(0.5) else -1.0)
    start = (middle[0] - 0.3 * length * float(np.cos(angle)), middle[1] - 0.3 * length * float(np.sin(angle)))
    path = curve(draws, start, angle, length, bend, 18, draws.uniform(0.1, 0.45))
    distance = polyline(surface.x, surface.y, path, draws.uniform(0.9, 1.6))
    tint = np.array([[0.07, 0.06, 0.06], [0.85, 0.84, 0.8], [0.5, 0.1, 0.1]])[draws.choice([2.0, 1.0, 0.7])]
    defect.inside |= distance < 0.0
    defect.coats.append(_shadow(surface, distance, 1.4))
    gleam = np.clip(-distance, 0.0, 1.0)
    colour = tint[:, None, None] * (0.8 + 0.5 * gleam)
    defect.coats.append(Coat(colour, coverage(distance * surface.scale)))


def _place(draws: Draws, surface: Surface, spread: float) -> tuple[float, float]:
    """A point at most `spread` of the picture's sides from its middle."""
    rows, columns = surface.extent
    return (
        columns * (0.5 + draws.uniform(-spread, spread)),
        rows * (0.5 + draws.uniform(-spread, spread)),
    )


def _lobed(draws: Draws, surface: Surface, x: Array, y: Array, radius: float, flatness: float) -> Array:
    """Distance to a flattened blob with lobes and a rough outline."""
    u, v = turn(x, y, draws.uniform(0.0, np.pi))
    v = v / flatness
    away = norm(u, v)
    angle = np.arctan2(v, u)
    lobes = np.zeros(x.shape)
    for k in (2.0, 3.0):
        lobes += draws.uniform(-0.12, 0.12) * np.cos(k * angle + draws.uniform(0.0, 6.28))
    lobes += 0.34 * value_noise(draws, *surface.shape, 0.55 * radius * surface.scale)
    lobes += 0.07 * value_noise(draws, *surface.shape, 2.0 * surface.scale)
    return flatness * (away - radius * (1.0 + lobes))


def _shadow(surface: Surface, distance: Array, length: float) -> Coat:
    """The soft shadow of something with that outline, cast away from the light."""
    dx, dy = (round(length * part * surface.scale) for part in surface.light)
    rows = np.clip(np.arange(surface.shape[0]) + dy, 0, surface.shape[0] - 1)
    columns = np.clip(np.arange(surface.shape[1]) + dx, 0, surface.shape[1] - 1)
    cast = distance[rows[:, None], columns]
    opacity = 0.6 * np.clip(0.5 - (cast - 0.6) / 2.4, 0.0, 1.0)
    return Coat(np.array([0.01, 0.04, 0.16])[:, None, None], opacity)


DEFECTS: tuple[Callable[[Draws, Surface], Defect], ...] = (scratch, foam, indentation, foreign_matter)
"""In the order of `NAMES`."""
