"""Small files that decide what is read: pipes and devices are not waited for, damage is one line with a remedy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmark.bundles.form import form_at
from datasets.base import DataError
from datasets.files.class_ids import read_colours
from datasets.files.listing import text_of
from datasets.files.sealed import read_sealed, sealed
from datasets.shapes.dataset import Shapes, ShapesConfig
from tests.helpers.folder_data import dataset, write_class_folders


@pytest.fixture(params=["pipe", "device"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that has no end, or for which one waits."""
    path = tmp_path / "endless.json"
    if request.param == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


def test_files_without_an_end_are_refused(endless: Path) -> None:
    with pytest.raises(DataError, match="no regular file"):
        text_of(endless)
    with pytest.raises(DataError, match="no regular file"):
        form_at(endless)
    with pytest.raises(ValueError, match="no regular file"):
        read_sealed(endless)


def test_the_command_for_a_form_can_be_pasted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"`bundle --form '{tmp_path / 'no form'}'` writes an empty form"):
        form_at(tmp_path / "no form")


def test_a_pipe_among_the_images_keeps_no_layout_from_being_found(endless: Path) -> None:
    write_class_folders(endless.parent, "dent", "rust", count=2)
    assert dataset(endless.parent).classes == ("dent", "rust")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"labels": [], "fingerprints": {}}', "[" * 10**5, "\xff"]
)
def test_the_mark_of_a_drawn_data_set_that_is_damaged_is_one_line(tmp_path: Path, content: str) -> None:
    found = Shapes(ShapesConfig(root=str(tmp_path), train=2, val=2))
    found.prepare()
    (found.folder / "finished.json").write_bytes(content.encode("latin-1"))
    again = Shapes(ShapesConfig(root=str(tmp_path), train=2, val=2))
    with pytest.raises(
        DataError, match=r"finished\.json is damaged; remove .*; it is drawn again on the next run"
    ):
        again.fingerprint("images", "train")
    (problem,) = Shapes(ShapesConfig(root=str(tmp_path), train=2, val=2)).problems()
    assert "is damaged" in problem.what
    assert "drawn again" in problem.remedy


def test_a_seal_is_held(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    path.write_text(json.dumps(sealed({"a": 1})))
    assert read_sealed(path) == {"a": 1}
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(ValueError, match="checksum"):
        read_sealed(path)


def test_colours_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"map\.txt: is not UTF-8; save it as such"):
        read_colours(tmp_path / "map.txt")
