"""Class lists of other tools: what they call the background, and pixels that are not scored, is no class."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.base import DataError
from tests.helpers.folder_data import dataset, labels
from tests.helpers.trees import write_folder


@pytest.mark.parametrize(
    "text",
    [
        "_background_\nrust\ndent",  # labelme
        "__ignore__\n_background_\nrust\ndent",  # labelme's labels.txt
        "BACKGROUND\nrust\ndent\nvoid",  # VOC's names, void last and no image's label
        "bg\nrust\ndent\nunlabeled",
        "0 _background_\n1 rust\n2 dent\n255 void",
        "-1 __ignore__\n0 __background__\n1 rust\n2 dent",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nrust:128,0,0::\ndent:0,128,0::",  # CVAT
    ],
)
def test_the_background_of_other_tools_is_no_class(tmp_path: Path, text: str) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    (root / "classes.txt").write_text(text)
    assert dataset(root).classes == ("rust", "dent")


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    (root / "classes.txt").write_text("__ignore__\n_background_\nrust\ndent\nvoid")
    (said,) = [line for line in dataset(root).notes() if "no classes" in line]
    assert "'__ignore__' as 255, not scored" in said
    assert "'_background_' as 0, the background" in said
    assert "'void' as 255" in said


def test_void_is_a_class_where_images_are_labelled_with_it(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,void,val"])
    (root / "classes.txt").write_text("rust\nvoid")
    assert dataset(root).classes == ("rust", "void")


@pytest.mark.parametrize(
    "text",
    ["rust\nbackground\ndent", "rust\ndent\n_background_", "__ignore__\nrust\ndent", "0 ignore\n1 rust"],
)
def test_a_list_whose_ids_are_not_clear_is_refused(tmp_path: Path, text: str) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    (root / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=r"write background first|number them from 0 background"):
        dataset(root).prepare()


def test_the_background_is_no_label_however_spelled(tmp_path: Path) -> None:
    rows = ["a,rust;_background_,train", "b,__ignore__;dent,train", "c,BG dent,val"]
    found = dataset(write_folder(tmp_path, rows))
    assert labels(found) == {"a": ["rust"], "b": ["dent"], "c": ["dent"]}


def test_a_list_among_the_settings_is_read_alike(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ["a,rust,train", "b,dent,val"])
    assert dataset(root, classes="__background__,rust,dent,ignore").classes == ("rust", "dent")
