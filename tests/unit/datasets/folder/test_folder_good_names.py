"""Images without a defect under other names, and class names that are one but for their spelling."""

from __future__ import annotations

import shlex
import subprocess
import unicodedata
from pathlib import Path

import pytest

from datasets.base import DataError
from tests.helpers.folder_data import dataset, labels, write_class_folders
from tests.helpers.trees import write_folder


@pytest.mark.parametrize(
    ("good", "other"),
    [("OK", "NG"), ("normal", "crack"), ("defect_free", "dent"), ("No Defect", "dent"), ("background", "dent"),
     ("Healthy", "rust"), ("正常", "dent")],
)  # fmt: skip
def test_folders_that_may_be_good_are_asked_about(tmp_path: Path, good: str, other: str) -> None:
    write_class_folders(tmp_path, good, other, count=4)
    with pytest.raises(DataError, match="may mean images without a defect, or be a class") as error:
        dataset(tmp_path).prepare()
    assert "\n" not in str(error.value)
    (setting,) = shlex.split(str(error.value).partition("; set ")[2].partition(" for the former")[0])
    found = dataset(tmp_path, good_names=setting.removeprefix("dataset.good_names="))
    assert found.classes == (other,)
    assert {name for name, classes in labels(found).items() if not classes} == {
        f"{good}/{k}" for k in range(4)
    }
    assert dataset(tmp_path, good_names="good").classes == tuple(sorted((good, other)))


def test_good_beside_another_name(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "good", "OK", "dent", count=2)
    with pytest.raises(DataError, match=r"set dataset\.good_names=good,OK for the former"):
        dataset(tmp_path).prepare()
    assert dataset(tmp_path, good_names="good,ok").classes == ("dent",)


def test_labels_that_may_be_good(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,OK,train", "b,dent,train", "c,dent,val"], masks=False)
    with pytest.raises(DataError, match=r"labels\.csv: 'OK' may mean .* set dataset\.good_names=OK"):
        dataset(root).prepare()
    assert labels(dataset(root, good_names="OK")) == {"a": [], "b": ["dent"], "c": ["dent"]}
    good = write_folder(tmp_path / "good", ["a,Good,train", "b,dent,train", "c,dent,val"], masks=False)
    assert labels(dataset(good)) == {"a": [], "b": ["dent"], "c": ["dent"]}


def test_a_class_list_that_names_a_good_one_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,OK,train", "b,dent,train", "c,dent,val"], masks=False)
    (root / "classes.txt").write_text("OK\ndent")
    with pytest.raises(DataError, match="names 'OK', which means an image without a defect"):
        dataset(root, good_names="OK").prepare()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train/Scratch", "val/scratch"),
        ("train/pitted surface", "val/pitted_surface"),
        ("train/cold-shut", "val/coldshut"),
        (unicodedata.normalize("NFC", "train/défaut"), unicodedata.normalize("NFD", "val/défaut")),
        ("Dent", "dent"),
    ],
)
def test_folders_of_one_name_are_refused(tmp_path: Path, first: str, second: str) -> None:
    others = ("train/rust", "val/rust") if "/" in first else ("rust",)
    write_class_folders(tmp_path, first, second, *others, count=2)
    for path in (tmp_path / second).iterdir():
        path.rename(path.with_name(f"second{path.name}"))
    with pytest.raises(
        DataError, match="have one name but for case, spaces, hyphens or Unicode form"
    ) as error:
        dataset(tmp_path).prepare()
    assert "\n" not in str(error.value)
    subprocess.run(str(error.value).partition("one class: ")[2], shell=True, check=True)
    found = dataset(tmp_path, val_fraction=0.5)
    assert len(found.classes) == 2
    assert len(labels(found)) == 2 * (2 + len(others))


@pytest.mark.parametrize("rows", [["a,Rust,train", "b,rust,val"], ["a,cold shut;,train", "b,cold-shut,val"]])
def test_labels_of_one_name_are_refused(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(DataError, match="are one name but for case, spaces, hyphens or Unicode form"):
        dataset(write_folder(tmp_path, rows, masks=False)).prepare()


def test_a_class_list_with_one_name_twice(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"], masks=False)
    (root / "classes.txt").write_text("rust\nRUST\ndent")
    with pytest.raises(DataError, match=r"classes 'rust' and 'RUST' are one name"):
        dataset(root).prepare()


def test_names_with_other_signs_are_apart(tmp_path: Path) -> None:
    write_class_folders(tmp_path, "A+", "A", "v1.1", "v11", count=2)
    assert len(dataset(tmp_path).classes) == 4
