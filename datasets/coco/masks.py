"""Masks of COCO: rendered from instance annotations, or taken from COCO-Stuff's maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from datasets.base import IGNORE, DataError
from datasets.coco.annotations import CATEGORY_IDS, CLASS_OF, GET_AGAIN, CocoImage, read_annotations

STUFF_CLASSES = 182
"""COCO-Stuff's things (category ids 1..91) and stuff (92..182); its maps hold id - 1, and 255 without a label."""
FARTHEST = 10_000
"""No corner of a polygon is as many pixels away from the image's; COCO's images are of 640 at most."""


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    label:    class index 0..79; crowd: a region of many such objects, outlined as one
    polygons: (V, 2) x, y in pixels, from the image's upper left corner; the object is their union
    counts:   instead of polygons, lengths of alternating runs of background and object, column by column
    """

    label: int
    crowd: bool
    polygons: tuple[np.ndarray, ...] = ()
    counts: np.ndarray | None = None


def read_instances(path: Path) -> list[tuple[CocoImage, list[Instance]]]:
    """The images of an instances file that hold an object, and their objects in the file's order.

    Raises DataError as `read_images`, and for outlines that are neither polygons nor plain run lengths.
    """
    images, annotations = read_annotations(path, _outline)
    found: dict[int, list[Instance]] = {image.number: [] for image in images}
    for entry in annotations:
        outline = entry.get("segmentation")
        if outline is None:
            raise DataError(f"{path}: annotation {entry['id']} has no outline that can be drawn; {GET_AGAIN}")
        label, crowd = CLASS_OF[entry["category_id"]], bool(entry.get("iscrowd"))
        parts = {"polygons": outline} if isinstance(outline, tuple) else {"counts": outline}
        found[entry["image_id"]].append(Instance(label, crowd, **parts))
    return [(image, found[image.number]) for image in images if image.labels]


def _outline(segmentation: Any) -> tuple[np.ndarray, ...] | np.ndarray | None:
    """Polygons, run lengths, or None for anything else."""
    try:
        if isinstance(segmentation, dict):
            return np.asarray(segmentation["counts"], dtype=np.int64).reshape(-1)
        polygons = tuple(np.asarray(polygon, dtype=np.float64).reshape(-1, 2) for polygon in segmentation)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    # Far corners overflow pycocotools' integers, and not numbers are of no pixel: it crashes on both.
    return polygons if all((abs(polygon) < FARTHEST).all() for polygon in polygons) else None


def render(instances: Sequence[Instance], height: int, width: int) -> np.ndarray:
    """Class mask (H, W) uint8 of an image's objects: smaller ones over larger ones, crowds ignored.

    An object that lies on or before another is mostly the smaller of the two, and COCO stores no depth. A crowd's
    outline is rough and takes in what is between its members, so its pixels are 255 where no single object is.
    Raises DataError if run lengths do not fill the image.
    """
    masks = [_mask(instance, height, width) for instance in instances]
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    labels = np.zeros((height, width), np.uint8)
    for k in sorted(range(len(masks)), key=lambda k: (not instances[k].crowd, -areas[k])):
        labels[masks[k]] = IGNORE if instances[k].crowd else instances[k].label + 1
    return labels


def _mask(instance: Instance, height: int, width: int) -> np.ndarray:
    """Pixels (H, W) bool of an object, as pycocotools draws them."""
    if instance.counts is None:
        # Fewer than three corners have no inside, and four numbers would be read as a box.
        outlines = [polygon.reshape(-1).tolist() for polygon in instance.polygons if len(polygon) >= 3]
        if not outlines:
            return np.zeros((height, width), bool)
        encoded = coco_mask.merge(coco_mask.frPyObjects(outlines, height, width))
    else:
        counts = instance.counts
        if counts.sum() != height * width or (counts < 0).any():  # it fills up what is missing, unsaid
            raise DataError(
                f"run lengths of {counts.sum()} pixels for an image of {width}x{height}; {GET_AGAIN}"
            )
        outline = {"counts": counts.tolist(), "size": [height, width]}
        encoded = coco_mask.frPyObjects(outline, height, width)
    return coco_mask.decode(encoded).astype(bool)  # type: ignore[no-any-return]


def stuff_table() -> np.ndarray:
    """(256,) uint8: the class mask's value of each value of a COCO-Stuff map.

    The 80 objects keep their place in `CLASSES`, everything else is background, unlabelled pixels stay 255.
    """
    table = np.zeros(256, np.uint8)
    table[np.array(CATEGORY_IDS) - 1] = np.arange(1, len(CATEGORY_IDS) + 1)
    table[IGNORE] = IGNORE
    return table


def from_stuff(values: np.ndarray, size: tuple[int, int], source: str) -> np.ndarray:
    """Class mask (H, W) uint8 from a COCO-Stuff map of the same shape.

    size: (H, W) of the image; source: names the map in errors. Raises DataError for another size or other values.
    """
    if values.shape != size:
        shapes = f"{values.shape[1]}x{values.shape[0]} for an image of {size[1]}x{size[0]}"
        raise DataError(f"{source}: map of {shapes}; download stuffthingmaps_trainval2017.zip again")
    wrong = values[(values >= STUFF_CLASSES) & (values != IGNORE)]
    if wrong.size:
        raise DataError(
            f"{source}: value {wrong[0]}, but COCO-Stuff has 0..{STUFF_CLASSES - 1} and {IGNORE};"
            " download stuffthingmaps_trainval2017.zip again"
        )
    return stuff_table()[values]
