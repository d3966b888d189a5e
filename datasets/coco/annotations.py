"""COCO's annotation files: which images there are, and which classes are in them. Light to import (no numpy)."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datasets.base import DataError
from datasets.files.fingerprints import cache_file, file_digests
from datasets.files.listing import open_regular

# fmt: off
CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)
"""In the order of their category ids: class i has mask value i + 1."""

CATEGORY_IDS = (*range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70, *range(72, 83),
                *range(84, 91))
"""COCO's ids of the 80 classes: of 1..91 eleven were never annotated."""
# fmt: on

CLASS_OF = {category: index for index, category in enumerate(CATEGORY_IDS)}
"""Category id (1..90) -> class index (0..79)."""

LARGEST_SIDE = 10_000
"""Pixels; COCO's images have 640 at most."""
GET_AGAIN = "take it from annotations_trainval2014.zip again"
_PLAIN_NAME = re.compile(r"[\w-]+\.jpg")
_CACHE_VERSION = 1


class CocoImage(NamedTuple):
    """One image of an annotation file.

    number: COCO's id; file_name: without a folder; labels: sorted class indices (0..79), empty without an object
    """

    number: int
    file_name: str
    height: int
    width: int
    labels: tuple[int, ...]

    @property
    def sample_id(self) -> str:
        return self.file_name.removesuffix(".jpg")


def read_images(path: Path) -> tuple[CocoImage, ...]:
    """All images of an instances file by rising number, with labels from their annotations, crowds included.

    The file is large (330 MB, ten seconds); what is taken from it is remembered in the user's cache folder, under
    the hash of its content. Raises DataError for a file that is missing, damaged or not COCO's.
    """
    (digest,) = file_digests([path])
    remembered = cache_file().parent / "coco" / f"{digest}-{_CACHE_VERSION}.json"
    try:
        rows = json.loads(remembered.read_text())
        return tuple(CocoImage(*row)._replace(labels=tuple(row[-1])) for row in rows)
    except (OSError, ValueError, TypeError, RecursionError):
        pass  # not remembered yet, or torn
    images, _ = read_annotations(path, lambda segmentation: None)
    temporary = remembered.with_name(f"{remembered.name}.{os.getpid()}.tmp")
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(images))
        temporary.replace(remembered)
    except OSError:
        temporary.unlink(
            missing_ok=True
        )  # without a cache it is read anew each time, which is slow and no more
    return images


def read_annotations(
    path: Path, convert: Callable[[Any], Any]
) -> tuple[tuple[CocoImage, ...], list[Mapping[str, Any]]]:
    """Images and annotations of an instances file.

    convert: what becomes of each `segmentation` while the file is read: as lists, all would take gigabytes
    Raises DataError as `read_images`.
    """

    def take(entry: dict[str, Any]) -> dict[str, Any]:
        if "segmentation" in entry:
            entry["segmentation"] = convert(entry["segmentation"])
        return entry

    try:
        with open_regular(path) as file:
            content = json.load(file, object_hook=take)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {GET_AGAIN}") from None
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise DataError(f"{path}: not JSON ({' '.join(str(error).split())}); {GET_AGAIN}") from None
    try:
        _require_categories(content)
        return _images(content), content["annotations"]
    except (KeyError, TypeError, AttributeError) as error:
        what = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: not as COCO's instances files are ({what}); {GET_AGAIN}") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}; {GET_AGAIN}") from None


def _require_categories(content: Any) -> None:
    found = {entry["id"]: entry["name"] for entry in content["categories"]}
    if found != dict(zip(CATEGORY_IDS, CLASSES, strict=True)):
        raise ValueError(
            f"its {len(found)} categories are not the 80 of COCO's instances_train2014.json and"
            " instances_val2014.json"
        )


def _images(content: Any) -> tuple[CocoImage, ...]:
    labels: dict[int, set[int]] = {entry["id"]: set() for entry in content["images"]}
    for annotation in content["annotations"]:
        number, category = annotation["image_id"], annotation["category_id"]
        if number not in labels:
            raise ValueError(f"annotation {annotation['id']} is of image {number}, which is not listed")
        if category not in CLASS_OF:
            raise ValueError(f"annotation {annotation['id']} has category {category}, which is not listed")
        labels[number].add(CLASS_OF[category])
    found = []
    for key in ("id", "file_name"):
        if twice := [
            value for value, count in Counter(e[key] for e in content["images"]).items() if count > 1
        ]:
            raise ValueError(f"{len(twice)} images are listed twice, {key} {twice[0]} first")
    for entry in content["images"]:
        number, name = entry["id"], entry["file_name"]
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(
                f"image {number} has file name {name!r}, not one such as COCO_val2014_000000000042.jpg"
            )
        height, width = entry["height"], entry["width"]
        if not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in (height, width)):
            raise ValueError(f"image {number} has width {width!r:.20} and height {height!r:.20}")
        found.append(CocoImage(number, name, height, width, tuple(sorted(labels[number]))))
    return tuple(sorted(found))
