"""Your own images, small and on disk: what the tests of `folder` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from PIL import Image

from datasets.folder.reader import Folder, FolderConfig
from tests.helpers.trees import write_image

ROWS = ["a,rust,train", "b,rust;dent,train", "c,dent,val"]


def dataset(root: Path, **settings: Any) -> Folder:
    return Folder(FolderConfig(root=str(root), **settings))


def labels(found: Folder) -> dict[str, list[str]]:
    """Names of each image's classes."""
    return {
        s.id: [found.classes[i] for i in s.labels] for split in ("train", "val") for s in found.samples(split)
    }


def write_class_folders(root: Path, *folders: str, count: int = 6) -> Path:
    """`count` images in each folder, by turns JPEG and PNG; returns root."""
    for folder in folders:
        for i in range(count):
            place = root / folder / f"{i}.{('jpg', 'png')[i % 2]}"
            write_image(place, crc32(f"{root.name}/{folder}/{i}".encode()))  # no two alike
    return root


def mask(found: Folder, sample_id: str) -> np.ndarray:
    """(H, W), uint8."""
    path = found.mask_path(sample_id)
    assert path is not None
    with Image.open(path) as image:
        return np.asarray(image)
