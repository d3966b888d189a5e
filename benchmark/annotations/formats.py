"""Outlines as annotation tools read them: COCO JSON, LabelMe JSON, and CVAT for images 1.1."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmark.annotations.polygons import Outline, Ring
from datasets.base import IGNORE

IGNORED = "__ignore__"
"""LabelMe's name of what is not scored; COCO's file calls it a crowd besides."""


@dataclass(frozen=True)
class Annotated:
    """An image and its regions.

    image: the file; name: its path below the folder of images, as files are named; size: (H, W)
    outlines: in pixels of the image
    """

    image: Path
    name: str
    size: tuple[int, int]
    outlines: tuple[Outline, ...]


def class_names(classes: Sequence[str]) -> dict[int, str]:
    """Class id in a label map -> name."""
    return {**dict(enumerate(classes, 1)), IGNORE: IGNORED}


def write_coco(images: Sequence[Annotated], classes: Sequence[str], output: Path) -> int:
    """``instances.json``; returns how many files were written."""
    regions = [(number, each) for number, image in enumerate(images, 1) for each in image.outlines]
    used = {outline.value for _, outline in regions}
    names = class_names(classes)
    content = {
        "images": [
            {"id": number, "file_name": image.name, "width": image.size[1], "height": image.size[0]}
            for number, image in enumerate(images, 1)
        ],
        "categories": [
            {"id": value, "name": name} for value, name in names.items() if value != IGNORE or value in used
        ],
        "annotations": [
            {
                "id": key,
                "image_id": number,
                "category_id": outline.value,
                "segmentation": [_rounded(outline.ring.reshape(-1))],
                "bbox": _box(outline.ring),
                "area": outline.area,
                "iscrowd": int(outline.value == IGNORE),
            }
            for key, (number, outline) in enumerate(regions, 1)
        ],
    }
    _write_json(output / "instances.json", content)
    return 1


def write_labelme(images: Sequence[Annotated], classes: Sequence[str], output: Path) -> int:
    """A JSON for each image, under its name; returns how many files were written."""
    names = class_names(classes)
    for image in images:
        path = output / Path(image.name).with_suffix(".json")
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [
                {
                    "label": names[outline.value],
                    "points": _rounded(outline.ring),
                    "group_id": None,
                    "shape_type": "polygon",
                    "flags": {},
                }
                for outline in image.outlines
            ],
            "imagePath": Path(os.path.relpath(image.image, path.parent)).as_posix(),
            "imageData": None,
            "imageHeight": image.size[0],
            "imageWidth": image.size[1],
        }
        _write_json(path, content)
    return len(images)


def write_cvat(images: Sequence[Annotated], classes: Sequence[str], output: Path) -> int:
    """``annotations.xml``; returns how many files were written."""
    names = class_names(classes)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, image in enumerate(images):
        height, width = map(str, image.size)
        parent = ElementTree.SubElement(
            root, "image", id=str(number), name=image.name, width=width, height=height
        )
        for depth, outline in enumerate(sorted(image.outlines, key=lambda each: -each.area)):
            points = ";".join(f"{x:g},{y:g}" for x, y in _rounded(outline.ring))
            ElementTree.SubElement(
                parent,
                "polygon",
                label=names[outline.value],
                source="auto",
                occluded="0",
                points=points,
                z_order=str(depth),
            )
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(output / "annotations.xml", encoding="utf-8", xml_declaration=True)
    return 1


FORMATS: dict[str, Callable[[Sequence[Annotated], Sequence[str], Path], int]] = {
    "coco": write_coco,
    "labelme": write_labelme,
    "cvat": write_cvat,
}
"""By the name that `--to` takes."""


def _rounded(values: Ring) -> Any:
    return values.round(2).tolist()


def _box(ring: Ring) -> Any:
    """Left, top, width, height."""
    return _rounded(np.concatenate([ring.min(0), np.ptp(ring, axis=0)]))


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
