"""Masks of outlines: polygons, run lengths and rectangles of annotation files, drawn for scoring alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from datasets.base import IGNORE, DataError
from datasets.folder.copies import copies_folder, save_copy

FARTHEST = 1_000_000
"""No corner is as many pixels away from the image's: pycocotools crashes on farther ones."""


@dataclass(frozen=True)
class Outlined:
    """One annotated object.

    value:    class id in the mask, from 1; `IGNORE` for what is not scored
    polygons: (V, 2) x, y in pixels each; the object is their union
    runs:     instead, lengths of alternating runs of background and object column by column, or COCO's text of them
    box:      left, top, width, height of what `runs` cover, then row by row; none: the image
    """

    value: int
    polygons: tuple[np.ndarray, ...] = ()
    runs: tuple[int, ...] | str = ()
    box: tuple[int, ...] = ()


def drawn_mask(objects: Sequence[Outlined], size: tuple[int, int], source: object) -> Path:
    """A mask with class ids of an image's objects, in the user's cache folder: smaller ones over larger ones.

    Pixels that are not scored are below all. size: (H, W); source: names the annotations in errors. Raises DataError.
    """
    content = repr([(o.value, o.runs, [p.tolist() for p in o.polygons], *o.box) for o in objects])
    target = copies_folder("masks") / f"drawn-{hashlib.sha256(f'{size}{content}'.encode()).hexdigest()}.png"
    if target.exists():
        return target
    filled = [_filled(each, size, source) for each in objects]
    areas = [int(np.count_nonzero(mask)) for mask in filled]
    labels = np.zeros(size, np.uint8)
    for k in sorted(range(len(objects)), key=lambda k: (objects[k].value != IGNORE, -areas[k])):
        labels[filled[k]] = objects[k].value
    save_copy(labels, target)
    return target


def _filled(outline: Outlined, size: tuple[int, int], source: object) -> np.ndarray:
    """Pixels (H, W) bool of an object."""
    height, width = size
    if outline.box:
        return _in_box(outline, size, source)
    if isinstance(outline.runs, str):
        encoded = {"size": [height, width], "counts": outline.runs.encode()}
    elif outline.runs:
        if sum(outline.runs) != height * width or min(outline.runs) < 0:
            raise DataError(
                f"{source}: run lengths of {sum(outline.runs)} pixels for an image of {width}x{height}; export it again"
            )
        plain = {"counts": list(outline.runs), "size": [height, width]}
        encoded = coco_mask.frPyObjects(plain, height, width)
    else:  # fewer than three corners have no inside, and four numbers would be read as a box
        corners = [polygon.reshape(-1).tolist() for polygon in outline.polygons if len(polygon) >= 3]
        if not corners:
            return np.zeros(size, bool)
        encoded = coco_mask.merge(coco_mask.frPyObjects(corners, height, width))
    try:
        return coco_mask.decode(encoded).astype(bool)  # type: ignore[no-any-return]
    except ValueError:
        raise DataError(
            f"{source}: run lengths that are not of an image of {width}x{height}; export it again"
        ) from None


def _in_box(outline: Outlined, size: tuple[int, int], source: object) -> np.ndarray:
    left, top, width, height = outline.box
    runs = np.array(outline.runs, dtype=object)  # of any size: a file can say anything
    fits = min(left, top) >= 0 and 0 < width <= size[1] - left and 0 < height <= size[0] - top
    if not fits or runs.min() < 0 or runs.sum() != width * height:
        raise DataError(
            f"{source}: a mask that does not fit its box, or its box the image of {size[1]}x{size[0]}; export it again"
        )
    pixels = np.zeros(size, bool)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs.astype(int)).reshape(height, width)
    pixels[top : top + height, left : left + width] = inside
    return pixels


def polygon(points: object, where: str) -> np.ndarray:
    """(V, 2) of a flat list of numbers or of pairs. Raises DataError."""
    try:
        corners = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError):
        corners = np.full((1, 2), np.nan)
    if not (abs(corners) < FARTHEST).all():
        raise DataError(
            f"{where}: an outline that cannot be drawn; correct it, or export the annotations again"
        )
    return corners
