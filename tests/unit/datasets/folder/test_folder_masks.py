"""Masks of your own images: where they are looked for, which images need one, and faulty ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.files.guard import masks_closed
from datasets.files.images import read_labels
from tests.helpers.folder_data import ROWS, dataset, labels, mask, write_class_folders
from tests.helpers.trees import write_folder, write_image, write_mask


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            "images",
            "dataset.masks=images is the folder of the images; set it to a folder that holds masks only",
        ),
        (".", r"dataset.masks=\. is the folder of the images"),
        ("maks", "no folder .*maks; correct dataset.masks"),
    ],
)
def test_a_mask_folder_that_is_none(tmp_path: Path, masks: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(write_folder(tmp_path, ROWS), masks=masks).prepare()


def test_masks_may_end_in_capitals(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ROWS)
    (root / "masks" / "a.png").rename(root / "masks" / "a.PNG")
    found = dataset(root)
    assert found.mask_path("a") == root / "masks" / "a.PNG"
    assert found.masked("train") == 2


def test_masks_that_are_named_otherwise_are_not_passed_over(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ROWS)
    for path in sorted((root / "masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_seen.png"))
    message = r"none of the 3 files in .*masks \(a_seen\.png, .*name each <id>\.png, such as a\.png"
    with pytest.raises(DataError, match=message):
        dataset(root).prepare()


def test_without_masks(tmp_path: Path) -> None:
    found = dataset(write_folder(tmp_path, ROWS, masks=False))
    assert found.mask_path("a") is None
    assert found.masked("val") < len(found.ids("val"))
    assert found.problems() == []
    assert "no masks: nothing is scored" in found.notes()


def test_masks_missing_for_some_images_are_a_note(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    (tmp_path / "masks" / "c.png").unlink()
    (problem,) = dataset(tmp_path).problems()
    assert "1 of 1 val images have no mask (c)" in problem.what
    assert not problem.broken


@pytest.mark.parametrize(
    "place",
    ["masks/dent/0.png", "Masks/dent/0_mask.PNG", "dent/masks/0.png", "ground_truth/dent/0.png"],
)
def test_places_of_masks(tmp_path: Path, place: str) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / place, [0, 7])
    found = dataset(tmp_path, val_fraction=0.5)
    assert set(labels(found)) == {"dent/0", "dent/1", "good/0", "good/1"}
    assert set(np.unique(mask(found, "dent/0"))) == {0, 1}
    assert found.mask_path("dent/1") is None


@pytest.mark.parametrize("place", ["ground_truth/dent/0_seen.png", "dent/masks/0seg.png"])
def test_masks_of_class_folders_that_are_named_otherwise_are_not_passed_over(
    tmp_path: Path, place: str
) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / place, [0, 255])
    message = rf"none of the 1 files in .*{place.split('/')[-1]}.* under its image's name in the folder of its class"
    with pytest.raises(DataError, match=message):
        dataset(tmp_path).prepare()


def test_masks_of_test_images_that_are_left_out_need_not_fit(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_class_folders(tmp_path / split, "dent", "good", count=2)
    write_mask(tmp_path / "masks" / "test" / "dent" / "0.png", [0, 255])
    found = dataset(tmp_path)
    found.prepare()
    assert found.masked("val") == 0
    assert "images of the folder test are left out" in found.notes()


def test_masks_of_one_bit_are_class_ids(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,rust,val"])
    for path in (root / "masks").iterdir():
        with Image.open(path) as mask:
            bits = mask.point(lambda value: 255 * (value > 0)).convert("1")
        bits.save(path)
    assert dataset(root).problems() == []
    assert set(read_labels(root / "masks" / "a.png").unique().tolist()) == {0, 1}


def test_a_mask_of_a_good_image_must_be_empty(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / "masks" / "good" / "0.png", [0])
    assert mask(dataset(tmp_path), "good/0").max() == 0
    write_mask(tmp_path / "masks" / "good" / "0.png", [0, 255])
    with pytest.raises(DataError, match=r"0\.png: marks a defect in a good image"):
        dataset(tmp_path).mask_path("good/0")


def test_a_mask_of_another_size_names_the_file_itself(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "good", count=2)
    write_mask(tmp_path / "masks" / "dent" / "0.png", [0, 255], (16, 16))
    message = r"dent/0\.png: mask of 16x16 for an image of 24x16 .*export the mask at its image's size"
    with pytest.raises(DataError, match=message):
        dataset(tmp_path).sample("dent/0")


def test_masks_among_images_are_closed_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,labels,split\na,rust,train\nd/b,dent,val\n")
    write_image(tmp_path / "a.jpg")
    write_image(tmp_path / "d" / "b.jpg")
    write_mask(tmp_path / "d" / "a.png", [0, 1])
    found = dataset(tmp_path, images=".", masks="d")
    assert found.mask_path("a") == tmp_path / "d" / "a.png"
    assert tmp_path / "d" not in found.mask_directories()
    with masks_closed(found.mask_directories(), found.mask_files()):
        assert (tmp_path / "d" / "b.jpg").read_bytes()
        with pytest.raises(PermissionError, match="training must not open a mask"):
            (tmp_path / "d" / "a.png").read_bytes()


def test_images_without_labels_need_no_mask_where_others_have_one(tmp_path: Path) -> None:
    write_folder(tmp_path, [*ROWS, "d,,train"])
    (tmp_path / "masks" / "d.png").unlink()
    found = dataset(tmp_path, allow_empty=True)
    assert mask(found, "d").shape == (16, 24)
    assert mask(found, "d").max() == 0
    assert found.masked("train") == len(found.ids("train"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda own: 3 - own, "4 of 4 masks hold none of their image's classes"),
        (
            lambda own: 255,
            r"none of the 4 masks .* holds an object, only 0 \(background\) and 255 \(ignored\)",
        ),
    ],
)
def test_masks_are_held_against_the_labels(tmp_path: Path, value: Any, message: str) -> None:
    """Ids of two classes swapped, and everything marked as 0 and 255."""
    root = write_folder(tmp_path, [f"{split}{k},{('dent', 'rust')[k % 2]},{split}"
                                   for split in ("train", "val") for k in range(4)])  # fmt: skip
    assert dataset(root).problems() == []
    for path in (root / "masks").iterdir():
        with Image.open(path) as image:
            own = np.asarray(image)
        Image.fromarray(np.where(own > 0, value(own.astype(int)), 0).astype(np.uint8)).save(path)
    problems = dataset(root).problems()
    assert all(problem.broken for problem in problems)
    assert re.search(f"folder: train: {message}", problems[0].what)
    assert any("folder: val" in problem.what for problem in problems)
