"""The blue film without defects: its relief, the lamps it mirrors, its colour, and the camera that sees it.

The film is a height map. Its slopes bend the reflections of lamps and change how bright a place is, so that
whatever is pressed into the film or lies under it shows as it does on gloss: by what it does to the light.
Lengths are pixels of a picture whose longer side is 96; `scale` converts them to the picture's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.drawing.primitives import Array, Draws, fractal_noise, norm, polyline, turn, value_noise

_LAMP = np.array([0.88, 0.95, 1.0])[:, None, None]
"""Colour of mirrored lamps."""
_WRINKLE, _SEAM, _LAMPS, _GLARE = 0.3, 0.22, (0.3, 0.5, 0.2), 0.3
"""Probabilities of a wrinkle, of an overlap of the film, of 0, 1, 2 lamp tubes, of a glare."""


@dataclass
class Surface:
    """A film about to be photographed.

    x, y:   (H, W) pixel coordinates in units of a 96-pixel picture
    height: (H, W) relief in the same units; defects add theirs
    tone:   (H, W) factor of the film's colour where two layers overlap
    light:  unit vector towards the light, in the picture's plane
    """

    x: Array
    y: Array
    scale: float
    height: Array
    tone: Array
    light: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape  # type: ignore[return-value]

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the picture in the units of `x` and `y`."""
        return self.shape[0] / self.scale, self.shape[1] / self.scale


def stretch(draws: Draws, height: int, width: int, scale: float) -> Surface:
    """A film with the texture of its making, perhaps a wrinkle, perhaps the edge of an overlapping layer."""
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / scale
    angle = draws.uniform(0.0, 2.0 * np.pi)
    light = (float(np.cos(angle)), float(np.sin(angle)))
    surface = Surface(x, y, scale, np.zeros((height, width)), np.ones((height, width)), light)
    peel, streaks = draws.uniform(0.03, 0.12), draws.uniform(0.0, 0.07)
    cell = (draws.uniform(1.6, 3.0) * scale, 60.0 * scale)
    surface.height += peel * fractal_noise(draws, height, width, draws.uniform(4.0, 9.0) * scale, 2)
    along = value_noise(draws, height, width, cell if draws.chance(0.5) else cell[::-1])
    surface.height += streaks * along
    surface.tone += draws.uniform(0.0, 0.04) * along
    surface.height += draws.uniform(0.2, 1.2) * value_noise(draws, height, width, 26.0 * scale)
    if draws.chance(_WRINKLE):
        _wrinkle(draws, surface)
    if draws.chance(_SEAM):
        _overlap(draws, surface)
    return surface


def curve(
    draws: Draws,
    start: tuple[float, float],
    angle: float,
    length: float,
    bend: float,
    points: int = 9,
    wander: float = 0.03,
) -> list[tuple[float, float]]:
    """Points of an arc from `start` at `angle` that turns by `bend` radians, and at random by up to `wander` a step."""
    step, path = length / (points - 1), [start]
    for _ in range(points - 1):
        x, y = path[-1]
        path.append((x + step * float(np.cos(angle)), y + step * float(np.sin(angle))))
        angle += bend / (points - 1) + draws.uniform(-wander, wander)
    return path


def _wrinkle(draws: Draws, surface: Surface) -> None:
    """A soft ridge right across the picture."""
    rows, columns = surface.extent
    angle = draws.uniform(0.0, 2.0 * np.pi)
    middle = (columns * draws.uniform(0.1, 0.9), rows * draws.uniform(0.1, 0.9))
    start = (middle[0] - 70.0 * float(np.cos(angle)), middle[1] - 70.0 * float(np.sin(angle)))
    path = curve(draws, start, angle, 140.0, draws.uniform(-0.4, 0.4))
    away = polyline(surface.x, surface.y, path, 0.0) / draws.uniform(2.0, 5.0)
    surface.height += draws.uniform(0.15, 0.5) / (1.0 + away * away) ** 2


def _overlap(draws: Draws, surface: Surface) -> None:
    """The straight edge of a second layer of film."""
    rows, columns = surface.extent
    angle = draws.integer(2) * np.pi / 2 + draws.uniform(-0.12, 0.12)
    u, _ = turn(
        surface.x - columns * draws.uniform(0.1, 0.9), surface.y - rows * draws.uniform(0.1, 0.9), angle
    )
    edge = np.clip(u / 0.8, -1.0, 1.0)
    surface.tone *= 1.0 - draws.uniform(0.03, 0.1) * (edge + 1.0)
    surface.height += draws.uniform(0.1, 0.3) * edge


def illuminate(draws: Draws, surface: Surface) -> Array:
    """(3, H, W) what reaches the camera from the film: its colour, uneven light, mirrored lamps, glare."""
    height, width = surface.shape
    slope_y, slope_x = (np.asarray(s) for s in np.gradient(surface.height, 1.0 / surface.scale))
    toward = slope_x * surface.light[0] + slope_y * surface.light[1]
    colour = _film_colour(draws)
    rows, columns = surface.extent
    u, _ = turn(surface.x / columns - 0.5, surface.y / rows - 0.5, draws.uniform(0.0, 2.0 * np.pi))
    lit = 1.0 + draws.uniform(0.05, 0.55) * u
    lit += draws.uniform(0.0, 0.1) * value_noise(draws, height, width, 45.0 * surface.scale)
    off_centre = norm(surface.x / columns - 0.5, surface.y / rows - 0.5)
    lit -= draws.uniform(0.0, 0.5) * off_centre**2
    lit *= np.clip(1.0 - 0.75 * toward, 0.35, 1.8) * surface.tone
    gloss = _mirrored(draws, surface, slope_x, slope_y)
    canvas: Array = colour * lit + _LAMP * (gloss + np.clip(-toward, 0.0, None) ** 2 * 0.35)
    return canvas


def _film_colour(draws: Draws) -> Array:
    """(3, 1, 1) from cyan-blue to ultramarine, from dark to pale."""
    depth, pale = draws.uniform(0.0, 1.0), draws.uniform(0.0, 0.16)
    deep, bright = np.array([0.03, 0.16, 0.5]), np.array([0.1, 0.45, 0.85])
    colour: Array = deep + (bright - deep) * depth
    colour[1] += draws.uniform(-0.05, 0.06)
    return (colour + pale * (1.0 - colour))[:, None, None]


def _mirrored(draws: Draws, surface: Surface, slope_x: Array, slope_y: Array) -> Array:
    """(H, W) brightness of lamp tubes and of a glare, where the bent film shows them."""
    rows, columns = surface.extent
    reach = draws.uniform(25.0, 60.0)
    x, y = surface.x + reach * slope_x, surface.y + reach * slope_y
    angle = draws.uniform(0.0, np.pi)
    u, _ = turn(x - columns / 2, y - rows / 2, angle)
    bright = np.zeros(surface.shape)
    for _ in range(draws.choice(_LAMPS)):
        away = (u - draws.uniform(-45.0, 45.0)) / draws.uniform(3.0, 11.0)
        bright += draws.uniform(0.1, 0.45) / (1.0 + away**4)
    if draws.chance(_GLARE):
        away = norm(x - columns * draws.uniform(0.0, 1.0), y - rows * draws.uniform(0.0, 1.0))
        bright += draws.uniform(0.1, 0.35) / (1.0 + (away / draws.uniform(10.0, 22.0)) ** 3)
    return bright


def photograph(draws: Draws, canvas: Array) -> Array:
    """The camera: dust on the film, a slightly soft lens, shot and read-out noise. (3, H, W) -> (3, H, W)."""
    _, height, width = canvas.shape
    specks = draws.array(height, width) < draws.uniform(0.0, 0.0015)
    canvas = canvas + np.where(specks, draws.uniform(0.08, 0.25), 0.0)
    soft = draws.uniform(0.05, 0.22)
    for axis in (1, 2):
        canvas = (1.0 - 2.0 * soft) * canvas + soft * (_moved(canvas, 1, axis) + _moved(canvas, -1, axis))
    grain = draws.array(2, 3, height, width)
    noise = grain[0] + grain[1] - 1.0
    noise += 0.6 * noise.mean(axis=0)
    strength = draws.uniform(0.008, 0.035)
    exposed: Array = canvas * draws.uniform(0.85, 1.12) + strength * noise * (
        0.4 + np.sqrt(np.clip(canvas, 0, 1))
    )
    return exposed


def _moved(canvas: Array, by: int, axis: int) -> Array:
    """The canvas one pixel on, its border repeated."""
    length = canvas.shape[axis]
    return np.take(canvas, np.clip(np.arange(length) - by, 0, length - 1), axis=axis)
