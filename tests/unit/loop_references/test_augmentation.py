"""Geometry of the augmentation, in loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from datasets.loading.augment import Axis, Draw, augment, draw, plan
from datasets.recipe import IMAGENET, Recipe
from tests.unit.loop_references.shared import Grid, close, triangle_weights


@dataclass(frozen=True)
class Side:
    """One axis of a sample: source [start, start + length) resized to `resized`, shown from `offset` on."""

    start: int
    length: int
    resized: int
    offset: int
    flip: bool = False

    def source(self, position: int, crop: int) -> int | None:
        """The pixel of the resized axis that an output pixel shows; None outside the image."""
        at = (crop - 1 - position if self.flip else position) + self.offset
        return at if 0 <= at < self.resized else None

    def weights(self, at: int) -> list[tuple[int, float]]:
        """Source pixels of the image, and their shares, of a pixel of the resized axis."""
        return [(self.start + j, share) for j, share in triangle_weights(at, self.length, self.resized)]

    def nearest(self, at: int) -> int:
        return self.start + (2 * at + 1) * self.length // (2 * self.resized)


def resample_loop(source: np.ndarray, rows: Side, columns: Side, crop: int) -> tuple[Grid, list[list[bool]]]:
    """One channel, with zeros outside the image, and whether a pixel is inside."""
    values = [[0.0] * crop for _ in range(crop)]
    inside = [[False] * crop for _ in range(crop)]
    for y in range(crop):
        for x in range(crop):
            row, column = rows.source(y, crop), columns.source(x, crop)
            if row is None or column is None:
                continue
            inside[y][x] = True
            for j, down in rows.weights(row):
                for i, along in columns.weights(column):
                    values[y][x] += down * along * float(source[j, i])
    return values, inside


def labels_loop(source: np.ndarray, rows: Side, columns: Side, crop: int) -> list[list[int]]:
    out = [[255] * crop for _ in range(crop)]
    for y in range(crop):
        for x in range(crop):
            row, column = rows.source(y, crop), columns.source(x, crop)
            if row is not None and column is not None:
                out[y][x] = int(source[rows.nearest(row), columns.nearest(column)])
    return out


def axis_of(sides: Sequence[Side]) -> Axis:
    start, length, resized, offset = (
        np.array([getattr(side, name) for side in sides]) for name in ("start", "length", "resized", "offset")
    )
    return Axis(start, length, resized, offset, np.array([side.flip for side in sides]))


def sides_of(axis: Axis) -> list[Side]:
    return [Side(int(s), int(n), int(r), int(o), bool(f)) for s, n, r, o, f in zip(*axis, strict=True)]


def require_geometry(
    rows: Sequence[Side], columns: Sequence[Side], sources: Sequence[np.ndarray], crop: int
) -> None:
    """Carry out a geometry on (H, W, 5) sources: an image, a continuous map and a label map."""
    neutral = np.tile([1.0, 1.0, 1.0, 0.0], (len(sources), 1))
    steps, windows = plan(Draw(axis_of(rows), axis_of(columns), neutral), crop, IMAGENET)
    spans = [(int(t), int(b), int(left), int(right)) for t, b, left, right in windows]
    height, width = max(b - t for t, b, _, _ in spans), max(r - left for _, _, left, r in spans)
    canvas = np.full(
        (len(sources), width, 5, height), 77, np.uint8
    )  # what is outside a window must not matter
    for n, (top, bottom, left, right) in enumerate(spans):
        part = sources[n][top:bottom, left:right]
        canvas[n, : right - left, :, : bottom - top] = part.transpose(1, 2, 0)
    result = augment(torch.tensor(canvas), steps, IMAGENET, 1)
    for n, source in enumerate(sources):
        values, inside = resample_loop(source[..., 3], rows[n], columns[n], crop)
        close(result.maps[n, 0], np.array(values) / 255)
        np.testing.assert_array_equal(result.valid[n, 0].numpy(), inside)
        np.testing.assert_array_equal(
            result.labels[n, 0].numpy(), labels_loop(source[..., 4], rows[n], columns[n], crop)
        )
        for c in range(3):
            channel, _ = resample_loop(source[..., c], rows[n], columns[n], crop)
            normalised = (np.array(channel) / 255 - IMAGENET.mean[c]) / IMAGENET.std[c]
            close(result.images[n, c], np.where(inside, normalised, 0))


def random_source(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 5)).astype(np.uint8)


GEOMETRIES = {
    "identity": (Side(0, 8, 8, 0), Side(0, 8, 8, 0)),
    "flip": (Side(0, 8, 8, 0), Side(0, 8, 8, 0, True)),
    "enlarged": (Side(0, 5, 11, 2), Side(0, 7, 16, 8, True)),
    "halved": (Side(0, 16, 8, 0), Side(0, 18, 9, 1)),
    "shrunk": (Side(0, 31, 9, 1), Side(0, 23, 10, 2, True)),
    "padded": (Side(0, 12, 5, -2), Side(0, 9, 6, 0, True)),
    "tiny": (Side(0, 3, 1, -4), Side(0, 1, 3, -5, True)),
    "box": (Side(3, 7, 8, 0), Side(2, 13, 8, 0, True)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_resampling(name: str) -> None:
    rows, columns = GEOMETRIES[name]
    source = random_source(len(name), rows.start + rows.length, columns.start + columns.length)
    require_geometry([rows], [columns], [source], 8)


def test_resampling_of_a_batch() -> None:
    rows, columns = zip(*GEOMETRIES.values(), strict=True)
    sources = [
        random_source(n, r.start + r.length + 2, c.start + c.length + 1)
        if name == "box"
        else random_source(n, r.length, c.length)
        for n, (name, (r, c)) in enumerate(GEOMETRIES.items())
    ]
    require_geometry(rows, columns, sources, 8)


RECIPES = {
    "scale": Recipe(crop=9, scale=(0.4, 1.8)),
    "resize_long": Recipe(crop=9, resize_long=(6, 20)),
    "resize_crop": Recipe(crop=9, resize_crop=(0.2, 1.0)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_drawn_geometry(name: str) -> None:
    """Ranges of the recipe, then the resampling of what was drawn."""
    recipe = RECIPES[name]
    sizes = np.array([(11, 14), (17, 9), (6, 6), (13, 21)] * 12)
    drawn = draw(recipe, 5, np.zeros(len(sizes), np.int64), np.arange(len(sizes)), sizes)
    rows, columns = sides_of(drawn.rows), sides_of(drawn.columns)
    np.testing.assert_array_equal(drawn.colour, np.tile([1.0, 1.0, 1.0, 0.0], (len(sizes), 1)))
    assert not any(side.flip for side in rows)
    assert {side.flip for side in columns} == {False, True}
    for size, row, column in zip(sizes, rows, columns, strict=True):
        for side, whole in ((row, int(size[0])), (column, int(size[1]))):
            assert 0 <= side.start < side.start + side.length <= whole
            low, high = sorted((0, side.resized - recipe.crop))
            assert low <= side.offset <= high
        if name == "resize_crop":
            assert row.resized == column.resized == recipe.crop
            share = row.length * column.length / (int(size[0]) * int(size[1]))
            rounding = (row.length + column.length + 1) / (2 * int(size[0]) * int(size[1]))
            assert 0.2 - rounding <= share <= 1
            continue
        assert (row.start, row.length, column.start, column.length) == (0, int(size[0]), 0, int(size[1]))
        longest, resized = max(row.length, column.length), max(row.resized, column.resized)
        if name == "resize_long":
            assert 6 <= resized <= 20
        else:
            assert 0.4 * longest - 0.5 <= resized <= 1.8 * longest + 0.5
        assert (
            abs(row.resized / row.length * column.length - column.resized) <= 1 + column.length / row.length
        )
    for n in range(8):
        source = random_source(n, int(sizes[n][0]), int(sizes[n][1]))
        require_geometry([rows[n]], [columns[n]], [source], recipe.crop)
