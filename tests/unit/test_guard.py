"""Masks cannot be opened while a method trains."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.guard import masks_closed
from datasets.images import read_image, read_labels, read_map, write_labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for folder in ("images", "masks", "masks_of_others"):
        (tmp_path / folder).mkdir()
        write_labels(tmp_path / folder / "a.png", np.ones((4, 4), np.uint8))
    return tmp_path


def _fd(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY))


OPENERS = {
    "read_labels": read_labels,
    "read_map": read_map,
    "read_image": read_image,
    "Pillow": lambda p: Image.open(p).load(),
    "open": lambda p: open(p, "rb").close(),  # noqa: PTH123
    "open bytes": lambda p: open(os.fsencode(p), "rb").close(),  # noqa: PTH123
    "pathlib": Path.read_bytes,
    "numpy": lambda p: np.fromfile(p, np.uint8),
    "os": _fd,
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_every_way_to_open_is_refused(data: Path, opener) -> None:
    with masks_closed([data / "masks"]):
        with pytest.raises(PermissionError, match="training must not open a mask"):
            opener(data / "masks" / "a.png")
        opener(data / "images" / "a.png")
        opener(data / "masks_of_others" / "a.png")
    opener(data / "masks" / "a.png")


def test_detours_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "link.png").symlink_to(data / "masks" / "a.png")
    (data / "masks" / "linked.png").symlink_to(data / "images" / "a.png")
    monkeypatch.chdir(data / "images")
    with masks_closed([data / "masks"]):
        for path in (data / "link.png", data / "masks" / "linked.png", Path("../masks/a.png")):
            with pytest.raises(PermissionError):
                read_labels(path)


def test_other_threads_are_refused(data: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(read_labels, data / "masks" / "a.png").result()
        with masks_closed([data / "masks"]), pytest.raises(PermissionError):
            pool.submit(read_labels, data / "masks" / "a.png").result()


def test_single_files_can_be_closed(data: Path) -> None:
    write_labels(data / "images" / "mask.png", np.ones((4, 4), np.uint8))
    with masks_closed([], [data / "images" / "mask.png"]):
        read_image(data / "images" / "a.png")
        with pytest.raises(PermissionError):
            read_labels(data / "images" / "mask.png")


def test_guards_nest(data: Path) -> None:
    with masks_closed([data / "masks"]):
        with masks_closed([data / "masks", data / "masks_of_others"]), pytest.raises(PermissionError):
            read_labels(data / "masks_of_others" / "a.png")
        with pytest.raises(PermissionError):
            read_labels(data / "masks" / "a.png")
        read_labels(data / "masks_of_others" / "a.png")
    read_labels(data / "masks" / "a.png")


def test_guard_opens_again_after_an_error(data: Path) -> None:
    with pytest.raises(RuntimeError), masks_closed([data / "masks"]):
        raise RuntimeError
    read_labels(data / "masks" / "a.png")
