"""Names and files that no image has: links in a circle, pipes, bytes that are no text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from datasets.base import DataError
from datasets.folder.label_file import read_label_file
from tests.helpers.folder_data import ROWS, dataset
from tests.helpers.trees import write_folder, write_image


def test_images_that_are_links_in_a_circle(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", ROWS)
    for path in sorted((root / "images").iterdir()):
        path.unlink()
    (root / "images").rmdir()
    (root / "images").symlink_to("images")
    with pytest.raises(DataError, match=r"no image folder .*images; create it or set dataset\.images"):
        dataset(root).prepare()


def test_a_link_from_the_images_to_themselves_is_no_image(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", ROWS)
    (root / "images" / "again").symlink_to("../images")
    assert dataset(root).problems() == []


def test_doctor_does_not_wait_for_a_pipe_among_the_masks(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", ROWS)
    (root / "masks" / "a.png").unlink()
    os.mkfifo(root / "masks" / "a.png")
    (problem,) = [p for p in dataset(root).problems() if "no regular file" in p.what]
    assert "a.png" in problem.what


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_doctor_finds_animations(tmp_path: Path, ending: str) -> None:
    root = write_folder(tmp_path / "data", ROWS)
    (root / "images" / "a.png").unlink()
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("red", "blue")]
    frames[0].save(root / "images" / f"a.{ending}", save_all=True, append_images=frames[1:])
    assert any("an animation of 2 frames" in problem.what for problem in dataset(root).problems())


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    for name in (b"cat/\xff.png", b"cat/a.png", b"dog/a.png", b"dog/b.png"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        write_image(path)
    with pytest.raises(DataError, match=r"\\udcff\.png': a name that is not UTF-8; rename it"):
        dataset(tmp_path).prepare()


def test_names_with_control_characters_do_not_break_the_line() -> None:
    assert str(DataError("a\nb\x1b[31m.png: gone")) == "a\\nb\\x1b[31m.png: gone"


def test_a_name_is_looked_at_once_however_many_rows_repeat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.folder import label_file

    looked_at: list[str] = []
    names = label_file._names
    monkeypatch.setattr(
        label_file, "_names", lambda cell, known: looked_at.append(cell) or names(cell, known)
    )
    path = tmp_path / "labels.csv"
    path.write_text("id,labels,split\n" + "".join(f"i{n},rust;dent,train\n" for n in range(500)))
    found = read_label_file(path, ("rust", "dent"), False)
    assert {row.labels for row in found.rows} == {(0, 1)}
    assert len(found.rows) == 500
    assert looked_at == ["rust;dent"]
