"""Label maps as outlines: traced along the pixels' edges, holes kept, simplified within a tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Ring = NDArray[np.float64]
"""(V, 2) corners x, y of a closed outline, pixels from the image's upper left corner; the first is not repeated."""
_TOUCHING = np.ones((3, 3), bool)
"""Pixels of a region touch by sides or corners, as in `prediction.regions`."""
_NEAR = 0.01
"""Pixels from an edge at which a pixel is sampled on both sides: outlines pass in the middle, along the edge."""
_LEVEL = 0.4
"""Of an outline between 0 and 1: below one half, where pixels that touch by a corner are one region."""


@dataclass(frozen=True)
class Outline:
    """A region of a label map.

    value: its class id; area: its pixels; ring: its outline, holes joined to it by cuts without a width, since
    annotation files know no holes: filled by the even-odd rule, as tools and pycocotools do, they are open
    """

    value: int
    area: int
    ring: Ring


def outlines(labels: NDArray[np.uint8], tolerance: float, min_area: int = 1) -> Iterator[Outline]:
    """Regions of a label map (H, W) but the background's, of at least `min_area` pixels, class by class.

    tolerance: pixels that no corner of the pixels' own outline is away from the simplified one, 0 for that outline
               itself. Less is taken for small regions, of which as much would be left as a line: a tenth of the
               side of a square of their area
    """
    for value in (int(v) for v in np.unique(labels) if v):
        numbers, _ = ndimage.label(labels == value, _TOUCHING)
        for number, window in enumerate(ndimage.find_objects(numbers), 1):
            inside = numbers[window] == number
            if (area := int(inside.sum())) < min_area:
                continue
            corner = (window[1].start, window[0].start)
            rings = [simplified(ring, tolerance) + corner for ring in _traced(inside)]
            yield Outline(value, area, _joined(rings))


def _traced(inside: NDArray[np.bool_]) -> list[Ring]:
    """The outline of one region (h, w) and those of its holes, corners at whole pixels."""
    height, width = inside.shape
    heights = np.pad(inside.repeat(2, 0).repeat(2, 1).astype(np.float32), 1)
    x, y = (
        (np.arange(side + 1)[:, None] + (-_NEAR, _NEAR)).ravel() for side in (width, height)
    )  # the samples of two neighbours on both sides of their edge
    generator = contour_generator(x, y, heights, fill_type=FillType.OuterOffset)
    (points,), (offsets,) = cast(tuple[list[Ring], list[NDArray[np.uint32]]], generator.filled(_LEVEL, 2))
    return [_corners(points[a:b]) for a, b in pairwise(offsets)]


def _corners(points: NDArray[np.float64]) -> Ring:
    """The corners of an outline, which are at whole pixels; without points between them."""
    ring = points.round()
    ring = ring[(ring != np.roll(ring, 1, 0)).any(1)]
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def simplified(ring: Ring, tolerance: float) -> Ring:
    """Fewer corners by Douglas and Peucker; the ring itself where fewer than three would be left. See `outlines`."""
    tolerance = min(tolerance, 0.1 * _area(ring) ** 0.5)
    path = np.concatenate([ring, ring[:1]])
    farthest = int(np.linalg.norm(ring - ring[0], axis=1).argmax())
    kept = np.zeros(len(path), bool)
    kept[[0, farthest, -1]] = True
    todo = [(0, farthest), (farthest, len(path) - 1)]
    while todo:
        first, last = todo.pop()
        if last - first < 2:
            continue
        away = _distances(path[first + 1 : last], path[first], path[last])
        worst = int(away.argmax())
        if away[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            todo += [(first, middle), (middle, last)]
    found = ring[kept[:-1]]
    return found if len(found) >= 3 else ring


def _area(ring: Ring) -> float:
    x, y = ring.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _distances(points: Ring, start: Ring, end: Ring) -> NDArray[np.float64]:
    """Of points (N, 2) from the line between two corners."""
    along = end - start
    length = float(along @ along)
    place = ((points - start) @ along / length).clip(0, 1) if length else np.zeros(len(points))
    return np.linalg.norm(points - start - place[:, None] * along, axis=1)


def _joined(rings: Sequence[Ring]) -> Ring:
    """One ring of an outline and its holes: there and back by the shortest way between corners."""
    whole = rings[0]
    for hole in rings[1:]:
        away, nearest = KDTree(whole).query(hole)
        to = int(away.argmin())
        at, around = int(nearest[to]), np.roll(hole, -to, 0)
        whole = np.concatenate([whole[: at + 1], around, around[:1], whole[at:]])
    return whole
