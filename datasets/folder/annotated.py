"""Layouts of annotation tools: COCO JSON, LabelMe JSON, CVAT XML. Labels are the classes of an image's objects."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from datasets.base import IGNORE, DataError, Sample
from datasets.files.decoding import image_size
from datasets.files.listing import PICTURES, first_names, open_regular
from datasets.folder.label_file import class_index
from datasets.folder.listing import Listing, Tree, given_split, require_readable, settled_splits
from datasets.folder.outlines import Outlined, drawn_mask, polygon
from datasets.folder.spellings import is_background, is_ignored

COCO_KEYS = ("images", "annotations", "categories")
_CIRCLE = 64
"""Corners of a circle's polygon."""


@dataclass(frozen=True)
class _Object:
    """name: of its class, None for what is not scored; outline: what `Outlined` takes but for the value, None: none"""

    name: str | None
    outline: dict[str, Any] | None


@dataclass(frozen=True)
class _Annotated:
    """An image, its objects, the file that says so, and the split that the places of both tell."""

    image: Path
    objects: tuple[_Object, ...]
    file: Path
    split: str | None


# ---------------------------------------------------------------- COCO


def lacks_coco(tree: Tree) -> str:
    return "" if _coco_files(tree) else "no JSON with images, annotations and categories"


def read_coco(tree: Tree) -> Listing:
    """Every image that a COCO file of the tree lists; one without annotations has no label.

    Files are in the root, in ``annotations`` or in folders of splits. Images are found by the name in the file: below
    it, below the root or ``images``, or wherever only one picture has it. A split is told by folders or the file's name.
    """
    names: list[str] = []
    found: list[_Annotated] = []
    for file in _coco_files(tree):
        content = _json(file)
        try:
            categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
            objects: dict[Any, list[_Object]] = {entry["id"]: [] for entry in content["images"]}
            used = {entry["category_id"] for entry in content["annotations"]}
            in_use = [
                name for key, name in sorted(categories.items()) if key in used and not is_ignored(name)
            ]
            names += [name for name in in_use if name not in names]
            for entry in content["annotations"]:
                objects[entry["image_id"]].append(_coco_object(entry, categories, file))
            images = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file}: not as COCO's files are (no {error}); export the annotations again"
            ) from None
        places = _places(tree, file, list(images.values()))
        found += [
            _Annotated(places[name], tuple(objects[key]), file, _split_of(places[name], file, tree.root))
            for key, name in images.items()
        ]
    return _listing(tree, names, found, "COCO JSON", ())


def _coco_files(tree: Tree) -> list[Path]:
    """Files of the root, of ``annotations`` and of folders of splits; of LabelMe's thousands none."""
    folders = [tree.root, tree.root / "annotations"]
    folders += [tree.root / name for name in ("train", "training", "val", "valid", "validation", "test")]
    files = [path for path in tree.files if path.parent in folders and path.suffix.lower() == ".json"]
    by_folder = Counter(path.parent for path in files)
    few = [path for path in files if by_folder[path.parent] <= 20]
    return [path for path in few if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    content = _peeked(path, path.stat().st_mtime_ns)
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in COCO_KEYS)


def _coco_object(entry: Mapping[str, Any], categories: Mapping[Any, str], file: Path) -> _Object:
    where = f"{file}: annotation {entry.get('id')}"
    category = categories[entry["category_id"]]
    name = None if entry.get("iscrowd") or is_ignored(category) else category
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        counts = shape.get("counts", ())
        return _Object(name, {"runs": counts if isinstance(counts, str) else tuple(counts)})
    if not shape:
        return _Object(name, None)
    return _Object(name, {"polygons": tuple(polygon(each, where) for each in shape)})


def _places(tree: Tree, file: Path, names: Sequence[str]) -> dict[str, Path]:
    """Where the images that a file names are. Raises DataError for those that are nowhere."""
    by_name: dict[str, list[Path]] = {}
    for path in tree.files:
        if path.suffix.lower() in PICTURES:
            by_name.setdefault(path.name, []).append(path)
    there = set(tree.files)
    found: dict[str, Path] = {}
    for name in names:
        plain = PurePosixPath(name.replace("\\", "/"))
        folders = (file.parent, tree.root, tree.images, file.parent / "images")
        places = [folder / plain for folder in folders if not plain.is_absolute() and ".." not in plain.parts]
        alone = by_name.get(plain.name, [])
        place = next((p for p in places if p in there), alone[0] if len(alone) == 1 else None)
        if place is not None:
            found[name] = place
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{file}: {len(missing)} of {len(names)} images are not below {tree.root} ({first_names(missing)}); add"
            " them, or take them out of the file"
        )
    return found


def _split_of(image: Path, file: Path, root: Path) -> str | None:
    """By the folders of the image or the file, or by a word in the file's name: ``instances_val2017.json``."""
    words = "".join(c if c.isalpha() else "/" for c in file.stem)
    return given_split(image, root) or given_split(file, root) or given_split(root / words / "x", root)


# ---------------------------------------------------------------- LabelMe


def lacks_labelme(tree: Tree) -> str:
    """By one file of each folder: they may be thousands."""
    firsts = {path.parent: path for path in reversed(tree.files) if path.suffix.lower() == ".json"}
    return "" if any(map(_is_labelme, firsts.values())) else "no JSON with shapes beside images"


def _is_labelme(path: Path) -> bool:
    content = _peeked(path, path.stat().st_mtime_ns)
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def read_labelme(tree: Tree) -> Listing:
    """Every image that has a JSON; one without shapes has no label, and pictures without a JSON are left out."""
    found: list[_Annotated] = []
    there = set(tree.files)
    for file in (path for path in tree.files if path.suffix.lower() == ".json"):
        content = _json(file)
        try:
            shapes = tuple(_labelme_object(shape, file) for shape in content["shapes"])
            named = str(content["imagePath"]).replace("\\", "/")
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file}: not as LabelMe's files are (no {error}); save it again, or remove it"
            ) from None
        beside = [file.parent / PurePosixPath(named).name]
        beside += [file.with_suffix(ending) for ending in sorted(PICTURES)]
        beside += [tree.images / PurePosixPath(named).name]
        image = next((path for path in beside if path in there), None)
        if image is None:
            raise DataError(f"{file}: its image {named} is not beside it; add the image or remove the file")
        found.append(_Annotated(image, shapes, file, given_split(image, tree.root)))
    names = sorted({each.name for one in found for each in one.objects if each.name})
    taken = {each.image for each in found}
    rest = [path.name for path in tree.files if path.suffix.lower() in PICTURES and path not in taken]
    remark = (f"{len(rest)} pictures without a JSON are left out ({first_names(rest)})",) if rest else ()
    return _listing(tree, names, found, "LabelMe JSON", remark)


def _labelme_object(shape: Mapping[str, Any], file: Path) -> _Object:
    label, kind = str(shape["label"]), shape.get("shape_type") or "polygon"
    name = None if is_ignored(label) else label
    points = polygon(shape["points"], str(file))
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        angles = np.arange(_CIRCLE) * 2 * math.pi / _CIRCLE
        points = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind != "polygon":
        return _Object(name, None)
    return _Object(name, {"polygons": (points,)})


# ---------------------------------------------------------------- CVAT


def lacks_cvat(tree: Tree) -> str:
    return "" if _cvat_files(tree) else "no XML of CVAT for images"


def _cvat_files(tree: Tree) -> list[Path]:
    """Files of the root and of ``annotations``."""
    folders = (tree.root, tree.root / "annotations")
    found = []
    for path in (p for p in tree.files if p.parent in folders and p.suffix.lower() == ".xml" and p.is_file()):
        with path.open("rb") as file:
            if b"<annotations" in file.read(4096):
                found.append(path)
    return found


def read_cvat(tree: Tree) -> Listing:
    """Every image that a file lists; one without shapes has no label. Images are found as those of a COCO file."""
    found: list[_Annotated] = []
    for file in _cvat_files(tree):
        try:
            entries = [
                (entry.attrib["name"], tuple(_cvat_object(shape, file) for shape in entry))
                for entry in ElementTree.parse(file).getroot().iter("image")
            ]
        except (LookupError, ValueError, ElementTree.ParseError) as error:  # also of encodings and numbers
            reason = " ".join(str(error).split())
            raise DataError(
                f"{file}: not as CVAT's files for images are ({reason:.200}); export it again"
            ) from None
        places = _places(tree, file, [name for name, _ in entries])
        found += [
            _Annotated(places[name], objects, file, _split_of(places[name], file, tree.root))
            for name, objects in entries
        ]
    names = sorted({each.name for one in found for each in one.objects if each.name})
    return _listing(tree, names, found, "CVAT XML", ())


def _cvat_object(shape: ElementTree.Element, file: Path) -> _Object:
    """Of what is no polygon, no brush's mask and no upright box, the outline is not known."""
    label = shape.attrib["label"]
    name = None if is_ignored(label) else label
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
        return _Object(name, {"polygons": (polygon(pairs, str(file)),)})
    if shape.tag == "mask":
        runs = tuple(map(int, shape.attrib["rle"].split(",")))
        box = tuple(int(shape.attrib[side]) for side in ("left", "top", "width", "height"))
        return _Object(name, {"runs": runs, "box": box})
    if shape.tag == "box" and not shape.get("rotation"):
        left, top, right, bottom = (shape.attrib[side] for side in ("xtl", "ytl", "xbr", "ybr"))
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return _Object(name, {"polygons": (polygon(corners, str(file)),)})
    return _Object(name, None)


# ---------------------------------------------------------------- all


def _listing(
    tree: Tree, names: Sequence[str], found: Sequence[_Annotated], layout: str, remarks: tuple[str, ...]
) -> Listing:
    """names: of classes, in the order of their ids where none are declared"""
    classes = tree.classes or tuple(name for name in names if not is_background(name))
    if not classes:
        raise DataError(f"{tree.root}: its annotations name no class; annotate some objects first")
    samples: dict[str, Sample] = {}
    masks: dict[str, Path] = {}
    given: dict[str, str | None] = {}
    undrawn: list[str] = []
    for each in found:
        require_readable(each.image, str(each.file))
        sample_id = each.image.relative_to(tree.root).with_suffix("").as_posix()
        if sample_id in samples:
            raise DataError(
                f"{each.file}: {each.image.name} is annotated twice; remove one of the annotations"
            )
        objects = [o for o in each.objects if o.name is None or not is_background(o.name)]
        labels = {o.name: class_index(str(each.file), o.name, classes) for o in objects if o.name is not None}
        samples[sample_id] = Sample(sample_id, each.image, tuple(sorted(set(labels.values()))))
        given[sample_id] = each.split
        outlined = [
            Outlined(IGNORE if o.name is None else labels[o.name] + 1, **o.outline)
            for o in objects
            if o.outline is not None
        ]
        if len(outlined) < len(objects):  # boxes and points say nothing of pixels
            undrawn.append(sample_id)
        elif outlined:
            masks[sample_id] = drawn_mask(outlined, image_size(each.image), each.file)
    splits, split_by, left_out, said = settled_splits(given)
    for sample_id in left_out:
        samples.pop(sample_id)
        masks.pop(sample_id, None)
    if undrawn:
        said = (
            *said,
            f"{len(undrawn)} images have objects without an outline and are not scored ({first_names(undrawn)})",
        )
    return Listing(
        tree.root,
        classes,
        samples,
        splits,
        split_by,
        masks,
        closed=tuple(dict.fromkeys(each.file for each in found)),
        layout=f"{layout}, masks drawn of its outlines",
        remarks=(*remarks, *said),
    )


@lru_cache(32)
def _peeked(path: Path, changed: int) -> Any:
    """A JSON, None where it is none; large ones are looked at more than once."""
    try:
        return _json(path)
    except DataError:
        return None


def _json(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({' '.join(str(error).split())}); export it again") from None
