"""Hidden files are no images, whoever left them; images in unread formats and outside class folders are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.files.listing import files_below
from tests.helpers.folder_data import dataset, labels, write_class_folders
from tests.helpers.trees import write_folder, write_image, write_mask

LITTER = (
    "dent/.ipynb_checkpoints/0-checkpoint.png",
    "dent/._0.png",
    ".DS_Store",
    "dent/Thumbs.db",
    "rust/desktop.ini",
    "__MACOSX/dent/._1.png",
    ".thumbnails/dent/0.png",
    "dent/@eaDir/0.jpg",
)


def test_hidden_files_are_no_images_of_class_folders_and_counted(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "rust", count=4)
    for name in LITTER:
        write_image(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.png").rename(tmp_path / name)
    found = dataset(tmp_path)
    assert set(labels(found)) == {f"{c}/{k}" for c in ("dent", "rust") for k in range(4)}
    assert found.problems() == []
    assert f"{len(LITTER)} hidden files ignored (.DS_Store, .thumbnails/dent/0.png" in "\n".join(
        found.notes()
    )


def test_hidden_files_are_no_images_of_a_label_file(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    write_image(root / "images" / ".ipynb_checkpoints" / "a.png")
    write_mask(root / "masks" / "._a.png", [7])
    assert dataset(root).problems() == []
    write_folder(tmp_path, [".ipynb_checkpoints/a,rust,train", "b,dent,val"])
    with pytest.raises(DataError, match=r"row 2: no image '\.ipynb_checkpoints/a'"):
        dataset(root).prepare()


def test_a_root_in_a_hidden_folder_is_a_root(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / ".cache", "dent", "rust", count=4)
    assert len(files_below(root)) == 8
    assert len(labels(dataset(root))) == 8


@pytest.mark.parametrize("folder", ["train", "val"])
def test_split_folders_without_class_folders(tmp_path: Path, folder: str) -> None:
    for k in range(3):
        write_image(tmp_path / folder / f"{k}.png", k)
    for name in ("train", "val"):
        if name != folder:
            write_class_folders(tmp_path / name, "dent", "rust", count=2)
    message = rf"{folder}: 3 images in no class folder \(0\.png, 1\.png, 2\.png\); move each into a folder of its class"
    with pytest.raises(DataError, match=message):
        dataset(tmp_path).prepare()


def test_jfif_is_read_and_other_formats_are_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "dent", "rust", count=4)
    write_image(tmp_path / "rust" / "9.jpg", 9)
    (tmp_path / "rust" / "9.jpg").rename(tmp_path / "rust" / "9.JFIF")
    assert "rust/9" in labels(dataset(tmp_path))
    for name in ("a.heic", "a.PPM", "a.avif", "a.gif"):
        (tmp_path / "dent" / name).touch()
        with pytest.raises(
            DataError, match=f"{name} is not JPEG, PNG, WebP, BMP, TIFF or JPEG 2000; convert it to PNG"
        ):
            dataset(tmp_path).prepare()
        (tmp_path / "dent" / name).unlink()
