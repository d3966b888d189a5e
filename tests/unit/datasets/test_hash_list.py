"""The list of a data set's hashes: written by `doctor --hash`, it tells every later run what has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.files.hash_list import NAME, changed_files, write_hashes
from tests.helpers.folder_data import ROWS, dataset
from tests.helpers.toys import Toy
from tests.helpers.trees import write_folder


def test_what_changed_is_said(tmp_path: Path) -> None:
    root = write_folder(tmp_path, ROWS)
    assert changed_files(dataset(root), root) == []
    path, count = write_hashes(dataset(root), root)
    assert count == 6  # three images and their masks
    assert changed_files(dataset(root), root) == []
    image = dataset(root).sample("a").image
    flipped = bytearray(image.read_bytes())
    flipped[-20] ^= 1
    image.write_bytes(flipped)
    (root / "masks" / "b.png").unlink()
    (line, gone) = changed_files(dataset(root), root)
    assert line == f"{path}: 1 files have changed (images/{image.name})"
    assert gone == f"{path}: 1 files are gone, or not in use (masks/b.png)"


@pytest.mark.parametrize("text", ["{", "[]", '{"files": []}', '{"files": {"a": "b"}, "sha256": "0"}'])
def test_a_damaged_list_is_named(tmp_path: Path, text: str) -> None:
    root = write_folder(tmp_path, ROWS)
    (root / NAME).write_text(text)
    with pytest.raises(DataError, match=rf"{NAME}: damaged .*write it again with doctor --hash"):
        changed_files(dataset(root), root)


def test_runs_say_what_changed_since_doctor_listed_it(command_line, third_party, tmp_path: Path) -> None:
    third_party(Toy("sound"))
    root = write_folder(tmp_path / "data", ROWS)
    data = ("--dataset", "folder", f"dataset.root={root}")
    done = command_line("doctor", "--hash", *data)
    assert f"SHA-256 of 6 files in {root / NAME}" in done.out.replace("\n", "")
    (root / NAME).write_text(
        json.dumps({"files": {"images/x.png": "0"}, "published": "https://example.org/list"})
    )
    done = command_line.run_on("sound", *data)
    said = " ".join(done.out.split())
    assert "6 files are new" in said
    assert "1 files are gone, or not in use (images/x.png)" in said
    assert command_line("doctor", "--hash").err.startswith("error: --hash: say of which data set")
