"""Networks on overlapping tiles of large images, whose maps are stitched: the network's memory is bounded by the tile.

Of a tile the middle is kept, and at the image's borders what is up to them. Tiles begin at whole strides of the network,
so their cells are the whole image's. Where the overlap covers the receptive field of a convolutional network, so is the
stitched map. What looks at all of a map (maxima, softmax after enlarging) comes after the stitching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import nn

from methods.layers.cam import resize
from methods.layers.config import TilesConfig

Forward = Callable[[torch.Tensor], torch.Tensor]
GRID = 32
"""Pixels by which an image can be shifted so that a network's maps shift by whole cells: the largest stride inside."""


class Span(NamedTuple):
    """A tile along one side of an image: pixels [start, stop), of which [first, last) are kept."""

    start: int
    stop: int
    first: int
    last: int


Place = tuple[int, Span, Span]
"""Of a tile: which image of the batch, rows, columns."""


def grid_of(network: nn.Module) -> int:
    """As `GRID`, of a network: its patch where `GRID` is no multiple of it (14, of DINOv2's transformers)."""
    for module in network.modules():
        patch = getattr(module, "patch_size", None)
        side = patch[0] if isinstance(patch, Sequence) else patch
        if isinstance(side, int) and side > 0 and GRID % side:
            return side
    return GRID


def spans(length: int, tiles: TilesConfig, grid: int = GRID) -> list[Span]:
    """The tiles along a side of `length` pixels; what they keep covers it, each pixel once.

    All but the last are equally long, in whole multiples of `grid`: `tiles.side` rounded down, but with room for the
    overlap on either side of what is kept. The last one ends at the image's border.
    """
    margin = -(-tiles.overlap // grid) * grid
    step = max(grid, (tiles.side - 2 * margin) // grid * grid)
    side = step + 2 * margin
    if length <= max(side, tiles.side):
        return [Span(0, length, 0, length)]
    last = -(-(length - side) // grid) * grid
    starts = [*range(0, last, step), last]
    stops = [*(start + side for start in starts[:-1]), length]
    cuts = [0, *(start + margin for start in starts[1:]), length]
    return [Span(*each) for each in zip(starts, stops, cuts, cuts[1:])]


def tiled(forward: Forward, tiles: TilesConfig, at_once: int, grid: int = GRID) -> Forward:
    """`forward`, images (B, 3, H, W) -> maps (B, C, h, w), with images larger than a tile in tiles.

    at_once: tiles that pass `forward` together; grid: `grid_of` the network
    """
    if not tiles.on:
        return forward

    def stitched(images: torch.Tensor) -> torch.Tensor:
        rows, columns = (spans(side, tiles, grid) for side in images.shape[-2:])
        if len(rows) == len(columns) == 1:
            return forward(images)
        kept: dict[Place, torch.Tensor] = {}
        cells: list[int] = []  # height and width of a cell, pixels
        for places, maps in _passed(forward, images, rows, columns, at_once):
            # A tile of the first size has whole cells along any side that is cut.
            first = zip((rows[0], columns[0]), maps.shape[-2:])
            cells = cells or [_cell(span.stop, count, grid) for span, count in first]
            for place, own in zip(places, _in_cells(maps, places[0][1:], cells)):
                of_rows, of_columns = (_kept(span, cell) for span, cell in zip(place[1:], cells))
                kept[place] = own[:, of_rows, of_columns].clone()
        return torch.stack(
            [
                torch.cat([torch.cat([kept[n, row, column] for column in columns], 2) for row in rows], 1)
                for n in range(len(images))
            ]
        )

    return stitched


def tiled_scores(classify: Forward, tiles: TilesConfig, at_once: int, grid: int = GRID) -> Forward:
    """`classify`, images (B, 3, H, W) -> scores (B, C); for images larger than a tile, the maximum over their tiles."""
    if not tiles.on:
        return classify

    def highest(images: torch.Tensor) -> torch.Tensor:
        rows, columns = (spans(side, tiles, grid) for side in images.shape[-2:])
        found: list[list[torch.Tensor]] = [[] for _ in images]
        for places, scores in _passed(classify, images, rows, columns, at_once):
            for (image, _, _), own in zip(places, scores):
                found[image].append(own)
        return torch.stack([torch.stack(of_image).amax(0) for of_image in found])

    return highest


def _passed(
    forward: Forward, images: torch.Tensor, rows: Sequence[Span], columns: Sequence[Span], at_once: int
) -> Iterator[tuple[Sequence[Place], torch.Tensor]]:
    """Places of tiles of one size, and what `forward` gives of these; the size of the first tile comes first."""
    of_size: dict[tuple[int, int], list[Place]] = {}
    for place in product(range(len(images)), rows, columns):
        of_size.setdefault((place[1].stop - place[1].start, place[2].stop - place[2].start), []).append(place)
    for group in of_size.values():
        for k in range(0, len(group), at_once):
            places = group[k : k + at_once]
            cut = [images[n, :, r.start : r.stop, c.start : c.stop] for n, r, c in places]
            yield places, forward(torch.stack(cut))


def _cell(side: int, count: int, grid: int) -> int:
    """Side of a cell, of which a tile of `side` pixels has `count`: a divisor of the grid."""
    return min((n for n in range(1, grid + 1) if grid % n == 0), key=lambda n: abs(n * count - side))


def _kept(span: Span, cell: int) -> slice:
    """Cells of a tile that are kept; at the image's far border all that there are."""
    stop = None if span.last == span.stop else (span.last - span.start) // cell
    return slice((span.first - span.start) // cell, stop)


def _in_cells(maps: torch.Tensor, at: Sequence[Span], cells: Sequence[int]) -> torch.Tensor:
    """Maps (B, C, h, w) of tiles, resampled where they have another number of cells, as of networks for one size.

    At the far border networks round down or up, or add a cell.
    """
    size = list(maps.shape[-2:])
    for axis, (span, cell) in enumerate(zip(at, cells)):
        whole, rest = divmod(span.stop - span.start, cell)
        if not whole <= size[axis] <= whole + (rest > 0) + 1:
            size[axis] = whole + (rest > 0)
    return maps if size == list(maps.shape[-2:]) else resize(maps, (size[0], size[1]))
