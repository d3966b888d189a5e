"""Masks are no pictures of a class, wherever they lie and however they are named."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.files.guard import masks_closed
from tests.helpers.folder_data import dataset, labels, mask, write_class_folders
from tests.helpers.trees import write_folder, write_image, write_mask


def white_blob(path: Path) -> None:
    write_mask(path, [0, 0, 255])


def rgb_blob(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[4:9, 5:12] = 255
    Image.fromarray(pixels).save(path, quality=80)


@pytest.mark.parametrize(
    ("names", "save"),
    [
        ("{}_GT.png", white_blob),
        ("{}_label.bmp", white_blob),
        ("{}.png", rgb_blob),  # of {}.jpg
        ("{}_Label.PNG", rgb_blob),
        ("{}_mask.jpg", rgb_blob),
        ("mask_{}.png", white_blob),
        ("{}-bw.png", white_blob),  # said by the values alone
        ("{}m.png", rgb_blob),
    ],
)
def test_masks_beside_their_pictures(tmp_path: Path, names: str, save: Callable[[Path], None]) -> None:
    """Found, never taken for pictures, and shut one by one while a method trains."""
    root = write_class_folders(tmp_path / "it's", "defect", "other", count=0)
    for k in range(10001, 10006):
        write_image(root / "defect" / f"{k}.{'jpg' if names == '{}.png' else 'png'}", k)
        write_image(root / "other" / f"{k}.png", -k % 97)
        save(root / "defect" / names.format(k))
    found = dataset(root)
    assert set(labels(found)) == {f"{c}/{k}" for c in ("defect", "other") for k in range(10001, 10006)}
    assert set(np.unique(mask(found, "defect/10001"))) == {0, 1}
    assert any("layout: class folders, masks beside the images; not a label file" in n for n in found.notes())
    with masks_closed(found.mask_directories(), found.mask_files()):
        found.sample("defect/10001").image.read_bytes()
        for path in (root / "defect" / names.format(10001), found.mask_path("defect/10001")):
            with pytest.raises(PermissionError):
                path.read_bytes()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "place",
    [
        "Class1/Train/sub/Label",
        "Class1/GT",
        "Class1/Train/groundtruth",
        "Class1/annotations",
        "Class1/Masks",
        "label",
    ],
)
def test_folders_called_as_masks_hold_no_pictures(tmp_path: Path, place: str) -> None:
    """What fits no picture is refused."""
    for folder in ("Class1/Train", "Class2/Train"):
        write_class_folders(tmp_path, folder, count=4)
    white_blob(tmp_path / place / "9_label.PNG")
    with pytest.raises(DataError, match=r"none of the 1 files in \S+ \(\S*9_label.PNG, \.\.\.\) is a mask"):
        dataset(tmp_path).prepare()


@pytest.mark.parametrize(
    ("folder", "moved"),
    [("defect/bw", "defect/masks"), ("defect_GT", "masks/defect"), ("zz", "masks/defect")],
)
def test_folders_of_masks_by_any_name(tmp_path: Path, folder: str, moved: str) -> None:
    write_class_folders(tmp_path, "defect", "other", count=4)
    for k in range(4):
        rgb_blob(tmp_path / folder / f"{k}.png")
    with pytest.raises(DataError, match="its 4 files look like masks of the pictures in") as error:
        dataset(tmp_path).prepare()
    subprocess.run(str(error.value).partition("move them: ")[2], shell=True, check=True)
    assert len(list((tmp_path / moved).iterdir())) == 4


def test_masks_in_a_label_file(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "a_mask,rust,train", "b,dent,val"], masks=False)
    white_blob(root / "images" / "a_mask.png")
    with pytest.raises(DataError, match="look like masks of pictures beside them"):
        dataset(root).prepare()


def test_pictures_with_similar_names_are_pictures(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "rust", count=12)  # 1 and 11
    for k in range(4):
        write_image(tmp_path / "dent" / f"{k}_rot90.png", 50 + k)
        write_image(tmp_path / "rust" / f"{k}b.png", 60 + k)
    assert len(labels(dataset(tmp_path))) == 32
    assert dataset(tmp_path).problems() == []


def test_masks_that_fit_no_picture_are_counted(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "rust", count=4)
    white_blob(tmp_path / "masks" / "dent" / "0.png")
    white_blob(tmp_path / "dent" / "Label" / "9_label.png")
    assert any("1 files in folders of masks belong to no image" in note for note in dataset(tmp_path).notes())
