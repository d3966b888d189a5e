"""Small data sets on disk, in the layouts that `voc2012`, `coco2014` and `folder` read."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.coco.annotations import CATEGORY_IDS
from datasets.coco.annotations import CLASSES as COCO_CLASSES
from datasets.voc.reader import CLASSES

SIZE = (24, 16)
"""Width and height of the images."""


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_deep_colour(path: Path, pixels: np.ndarray) -> None:
    """uint16 (H, W, 3) as a PNG of 16 bits a channel, which Pillow does not write."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_mask(path: Path, values: Sequence[int], size: tuple[int, int] = SIZE) -> None:
    """Vertical stripes of `values`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.resize(np.array(values, np.uint8), (size[1], size[0]))
    Image.fromarray(mask).save(path)


def annotation(names: Sequence[str]) -> str:
    objects = "".join(
        f"<object><name>{n}</name><difficult>0</difficult><part><name>head</name></part></object>"
        for n in names
    )
    return f"<annotation><folder>VOC2012</folder>{objects}</annotation>"


def write_voc(devkit: Path, lists: Mapping[str, Mapping[str, Sequence[str]]]) -> Path:
    """`VOCdevkit` with the lists {"train": {id: object names}, ...}; returns the VOC2012 folder."""
    folder = devkit / "VOC2012"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, images in lists.items():
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{i}\n" for i in images))
        for seed, (image_id, objects) in enumerate(images.items()):
            write_image(folder / "JPEGImages" / f"{image_id}.jpg", seed)
            (folder / "Annotations" / f"{image_id}.xml").write_text(annotation(objects))
            values = [0, 255, *(CLASSES.index(n) + 1 for n in objects if n in CLASSES)]
            write_mask(folder / "SegmentationClass" / f"{image_id}.png", values)
    return folder


def write_folder(
    root: Path, rows: Sequence[str], header: str = "id,labels,split", masks: bool = True
) -> Path:
    """`images/`, `masks/` and `labels.csv` whose rows begin with ids; returns root.

    Masks hold what the second column says, where names are separated by ``;``, in the order of their names.
    """
    root.mkdir(parents=True, exist_ok=True)
    labels = [[name for name in [*row.split(","), ""][1].split(";") if name] for row in rows]
    classes = sorted({name for names in labels for name in names})
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    for seed, row in enumerate(rows):
        image_id = row.split(",")[0]
        write_image(root / "images" / f"{image_id}.png", seed)
        if masks:
            values = [0, *(classes.index(name) + 1 for name in labels[seed])]
            write_mask(root / "masks" / f"{image_id}.png", values)
    return root


def write_coco(root: Path, images: Mapping[str, Mapping[int, Sequence[int]]]) -> Path:
    """COCO's layout with both kinds of masks, as `prepare` leaves it.

    images: {"train": {number: category ids}, ...}
    """
    for split, found in images.items():
        entries = [
            {"id": n, "file_name": f"COCO_{split}2014_{n:012d}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for n in found
        ]
        objects = [{"id": 100 * n + k, "image_id": n, "category_id": category, "segmentation": [[0, 0, 4, 0, 4, 4]]}
                   for n, categories in found.items() for k, category in enumerate(categories)]  # fmt: skip
        categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, COCO_CLASSES)]
        file = root / "annotations" / f"instances_{split}2014.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"images": entries, "annotations": objects, "categories": categories}))
        for number, of in found.items():
            name = f"COCO_{split}2014_{number:012d}"
            write_image(root / f"{split}2014" / f"{name}.jpg", number)
            values = [CATEGORY_IDS.index(category) + 1 for category in of]
            for truth, rest in (("instances", [0]), ("coco_stuff", [0, 255])):
                write_mask(root / "masks" / truth / f"{split}2014" / f"{name}.png", [*rest, *values])
    return root
