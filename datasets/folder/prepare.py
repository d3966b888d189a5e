"""A `folder` data set of any layout written anew in the canonical one: images, masks, labels.csv, classes.txt."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import DataError
from datasets.files.decoding import opened_whole
from datasets.folder.good import GOOD
from datasets.folder.reader import Folder

LABEL_FILE, CLASS_FILE = "labels.csv", "classes.txt"


def write_canonical(found: Folder, to: Path, advance: Callable[[int], None]) -> None:
    """Copy images as they are, and write masks of class ids and labels with the split, given or drawn.

    found: whose images are neither reduced nor converted; advance: called with the number of images done
    Raises DataError, for a folder that holds a data set too. The label file comes last: before it there is no data set.
    """
    if (to / LABEL_FILE).exists():
        raise DataError(f"{to}: holds a data set already ({LABEL_FILE}); choose another folder")
    if to.resolve().is_relative_to(found.root.resolve()):
        raise DataError(f"{to}: is in the tree that is read; choose a folder outside of {found.root}")
    found.prepare()
    if unfit := [name for name in found.classes if ";" in name]:
        raise DataError(
            f"{found.root}: class {unfit[0]!r} has a semicolon, which separates labels; rename it"
        )
    rows = []
    for split in ("train", "val"):
        for sample in found.samples(split):
            image = to / "images" / f"{sample.id}{sample.image.suffix}"
            image.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample.image, image)
            if (mask := found.mask_path(sample.id)) is not None:
                target = to / "masks" / f"{sample.id}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                _write_mask(mask, target)
            names = [found.classes[label] for label in sample.labels]
            rows.append((f"{sample.id}{sample.image.suffix}", ";".join(names) or GOOD, split))
            advance(1)
    (to / CLASS_FILE).write_text("".join(f"{name}\n" for name in found.classes), encoding="utf-8")
    with (to / LABEL_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "labels", "split"), *rows])


def _write_mask(mask: Path, target: Path) -> None:
    if mask.suffix.lower() == ".png":
        shutil.copyfile(mask, target)
        return
    with opened_whole(mask) as image:
        values = np.asarray(image).astype(np.uint8)
    Image.fromarray(values).save(target)
