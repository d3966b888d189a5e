"""Outlines as annotation tools read them: COCO JSON, LabelMe JSON, and CVAT for images 1.1."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmark.annotations.polygons import Outline, Ring
from benchmark.failures import ConfigError
from benchmark.prediction.finished import put
from datasets.base import IGNORE, DataError
from datasets.files.listing import first_names

IGNORED = "__ignore__"
"""LabelMe's name of what is not scored; COCO's file calls it a crowd besides."""
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""What text of JSON and XML cannot hold: control characters, and bytes of names that are no UTF-8."""
_COCO, _CVAT = "instances.json", "annotations.xml"


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


def check_targets(to: str, folder: Path, names: Sequence[str], output: Path) -> None:
    """Before anything is written. Raises DataError for a name that cannot be written, and ConfigError where two images
    share a file or a file is there already, which may hold corrections.

    folder: of the images; names: as `Annotated.name`
    """
    written = [*names, os.path.relpath(folder, output)] if to == "labelme" else names
    if wrong := next(filter(UNWRITABLE.search, written), None):
        raise DataError(
            f"--images: the name {wrong!a} is not UTF-8 or has control characters, which annotation files cannot hold;"
            " rename it, and its label map"
        )
    owners: dict[Path, str] = {}
    for name in names:
        path = output / (_labelme_file(name) if to == "labelme" else _COCO if to == "coco" else _CVAT)
        if owners.setdefault(path, name) != name and to == "labelme":
            raise ConfigError(
                f"--to labelme: {owners[path]} and {name} would share {path.name}; rename one and its label map, or"
                " give --to coco or --to cvat"
            )
    if there := [str(path) for path in owners if os.path.lexists(path)]:
        raise ConfigError(
            f"--output {output}: {len(there)} files are there already ({first_names(there)}) and may hold corrections;"
            " give another --output, or remove them"
        )


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
    _write_json(output / _COCO, content)
    return 1


def write_labelme(images: Sequence[Annotated], classes: Sequence[str], output: Path) -> int:
    """A JSON for each image, under its name; returns how many files were written."""
    names = class_names(classes)
    for image in images:
        path = output / _labelme_file(image.name)
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
    put(output / _CVAT, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True).decode())
    return 1


FORMATS: dict[str, Callable[[Sequence[Annotated], Sequence[str], Path], int]] = {
    "coco": write_coco,
    "labelme": write_labelme,
    "cvat": write_cvat,
}
"""By the name that `--to` takes."""


def _labelme_file(name: str) -> Path:
    return Path(name).with_suffix(".json")


def _rounded(values: Ring) -> Any:
    return values.round(2).tolist()


def _box(ring: Ring) -> Any:
    """Left, top, width, height."""
    return _rounded(np.concatenate([ring.min(0), np.ptp(ring, axis=0)]))


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
