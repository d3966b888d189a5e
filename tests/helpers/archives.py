"""Archives as the owners of VOC, SBD and COCO offer them, with few and small generated images."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy.io import savemat

from datasets.coco.annotations import CATEGORY_IDS, CLASSES
from tests.helpers.trees import write_voc

COCO_SIZE = (32, 24)
"""Width and height of COCO's images here."""


def tar_of(path: Path, folder: Path, mode: str = "w") -> Path:
    """An archive of everything below a folder, named from there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for file in sorted(folder.rglob("*")):
            tar.add(file, file.relative_to(folder).as_posix(), recursive=False)
    return path


def zip_of(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def boundaries_file(mask: np.ndarray) -> bytes:
    """A file of SBD's `cls` folder: GTcls with Boundaries, Segmentation and CategoriesPresent."""
    structure = {
        "Boundaries": np.zeros((20, 1)),
        "Segmentation": mask,
        "CategoriesPresent": np.unique(mask)[1:],
    }
    file = io.BytesIO()
    savemat(file, {"GTcls": structure})
    return file.getvalue()


def voc_archives(
    folder: Path,
    lists: Mapping[str, Mapping[str, Sequence[str]]],
    test: Sequence[str] = (),
    more: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Path, Path]:
    """VOCtrainval and VOC2012test; more: images without masks that are on no list of VOC's segmentation task."""
    devkit = write_voc(folder / "trainval" / "VOCdevkit", {**lists, "more": more or {}})
    (devkit / "ImageSets" / "Segmentation" / "more.txt").unlink()
    for image_id in more or {}:
        (devkit / "SegmentationClass" / f"{image_id}.png").unlink()
    trainval = tar_of(folder / "VOCtrainval_11-May-2012.tar", folder / "trainval")
    devkit = write_voc(folder / "test" / "VOCdevkit", {"test": {i: ["cat"] for i in test}})
    for image_id in test:
        (devkit / "SegmentationClass" / f"{image_id}.png").unlink()
        (devkit / "Annotations" / f"{image_id}.xml").unlink()
    return trainval, tar_of(folder / "VOC2012test.tar", folder / "test")


def boundaries_archive(folder: Path, lists: Mapping[str, Mapping[str, np.ndarray]]) -> Path:
    """benchmark.tgz of the lists {"train": {id: mask}, "val": ...}."""
    root = folder / "sbd" / "benchmark_RELEASE" / "dataset"
    (root / "cls").mkdir(parents=True)
    for name, masks in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{i}\n" for i in masks))
        for image_id, mask in masks.items():
            (root / "cls" / f"{image_id}.mat").write_bytes(boundaries_file(mask))
    return tar_of(folder / "benchmark.tgz", folder / "sbd", "w:gz")


def coco_name(split: str, number: int) -> str:
    return f"COCO_{split}2014_{number:012d}"


def coco_annotations(split: str, objects: Mapping[int, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """An instances file; objects: image number -> annotations without ids."""
    width, height = COCO_SIZE
    annotations = [
        {"id": 1000 * number + k, "image_id": number, "iscrowd": 0, **annotation}
        for number, found in objects.items()
        for k, annotation in enumerate(found)
    ]
    images = [
        {"id": n, "file_name": f"{coco_name(split, n)}.jpg", "width": width, "height": height}
        for n in objects
    ]
    categories = [{"id": i, "name": n, "supercategory": "thing"} for i, n in zip(CATEGORY_IDS, CLASSES)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def box(category: int, left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    """A rectangular object."""
    corners = [left, top, right, top, right, bottom, left, bottom]
    return {"category_id": category, "segmentation": [corners], "area": (right - left) * (bottom - top)}


def random_objects(
    rng: np.random.Generator, categories: Sequence[int] = CATEGORY_IDS
) -> list[dict[str, Any]]:
    """One to three rectangles of random classes."""
    width, height = COCO_SIZE
    found = []
    for category in rng.choice(categories, rng.integers(1, 4)):
        left, top = rng.uniform(0, [width - 8, height - 8])
        right, bottom = rng.uniform([left + 6, top + 6], [width, height])
        found.append(box(int(category), left, top, right, bottom))
    return found


def coco_archives(
    folder: Path, objects: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]], seed: int = 0
) -> dict[str, Path]:
    """train2014, val2014, annotations and stuffthingmaps (sorted by the splits of 2017, with other images too)."""
    rng = np.random.default_rng(seed)
    width, height = COCO_SIZE
    made, maps = {}, {}
    annotations = {"annotations/captions_val2014.json": b"{}"}
    for split, images in objects.items():
        pictures = {}
        for number, found in images.items():
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            pictures[f"{split}2014/{coco_name(split, number)}.jpg"] = _encoded(
                Image.fromarray(pixels), "JPEG"
            )
            stuff = Image.new("L", COCO_SIZE, 255 if number % 5 == 0 else 123)
            for annotation in found:
                if isinstance(annotation["segmentation"], list):
                    fill = annotation["category_id"] - 1
                    ImageDraw.Draw(stuff).polygon(annotation["segmentation"][0], fill=fill)
            place = "val" if number % 7 == 0 else "train"
            maps[f"{place}2017/{number:012d}.png"] = _encoded(stuff, "PNG")
        made[f"{split}2014"] = zip_of(folder / f"{split}2014.zip", pictures)
        name = f"annotations/instances_{split}2014.json"
        annotations[name] = json.dumps(coco_annotations(split, images)).encode()
    made["annotations"] = zip_of(folder / "annotations_trainval2014.zip", annotations)
    made["stuff"] = zip_of(folder / "stuffthingmaps_trainval2017.zip", maps)
    return made


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()
