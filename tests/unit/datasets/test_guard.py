"""Masks cannot be opened while a method trains."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from datasets.files.guard import files_opened, masks_closed
from datasets.files.images import read_image, read_labels, read_map, write_labels
from methods.base import Supervision
from tests.conftest import ROOT
from tests.helpers.toys import CommandLine, Toy


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


@pytest.mark.filterwarnings("ignore:The image decoding")
@pytest.mark.parametrize("name", ["read_file", "read_image", "decode_image"])
def test_torchvisions_readers_are_refused(data: Path, name: str) -> None:
    reader = getattr(torchvision.io, name)  # taken before the guard, as an import does
    with masks_closed([data / "masks"]):
        for path in (data / "masks" / "a.png", data / "images" / ".." / "masks" / "a.png"):
            with pytest.raises(PermissionError, match="training must not open a mask"):
                reader(str(path))
        assert reader(str(data / "images" / "a.png")).numel() > 0
    assert reader(str(data / "masks" / "a.png")).numel() > 0


def test_opencvs_readers_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opencv = types.ModuleType("cv2")  # reads by itself, as the package does; it is no dependency
    opencv.imread = lambda filename, flags=1: (filename, flags)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    mask, image = str(data / "masks" / "a.png"), str(data / "images" / "a.png")
    for _ in range(2):  # wrapped once
        with masks_closed([data / "masks"]):
            with pytest.raises(PermissionError, match="training must not open a mask"):
                opencv.imread(mask)
            with pytest.raises(PermissionError, match="training must not open a mask"):
                opencv.imread(filename=mask)
            assert opencv.imread(filename=image) == (image, 1)
            assert opencv.imread(image, flags=0) == (image, 0)
    assert opencv.imread(mask) == (mask, 1)
    assert not hasattr(opencv.imread.__wrapped__, "__wrapped__")


def test_readers_imported_under_a_guard_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "cv2.py").write_text("def imread(filename, flags=1):\n    return filename, flags\n")
    monkeypatch.syspath_prepend(data)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with masks_closed([data / "masks"]):
        assert "cv2" not in sys.modules
        opencv = importlib.import_module("cv2")
        with pytest.raises(PermissionError, match="training must not open a mask"):
            opencv.imread(str(data / "masks" / "a.png"))
    assert opencv.imread("a.png") == ("a.png", 1)
    del sys.modules["cv2"]


def test_a_guard_imports_nothing(data: Path) -> None:
    code = """
import sys
from pathlib import Path
from datasets.files.guard import masks_closed
folder = Path(sys.argv[1])
with masks_closed([folder / "masks"]):
    print(sorted({"torch", "torchvision", "cv2"} & sys.modules.keys()))
    import torchvision
    try:
        torchvision.io.read_file(str(folder / "masks" / "a.png"))
    except PermissionError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(data)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "[]"
    assert second.startswith("training must not open a mask")


def test_a_method_gets_the_masks_it_declares_and_no_others(
    command_line: CommandLine, third_party: Callable[..., None]
) -> None:
    class Declared(Toy):
        supervision = frozenset({Supervision.MASKS})

    third_party(
        Toy("undeclared", run="tests.helpers.toys:take_masks"),
        Declared("declared", run="tests.helpers.toys:take_masks"),
    )
    done = command_line.run("undeclared")
    assert done.code == 1
    assert "its method does not declare Supervision.MASKS" in " ".join((done.out + done.err).split())
    assert command_line.run("declared").code == 0


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


class TestFilesOpened:
    def test_what_is_read_is_recorded_in_every_thread(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image, mask = data / "images" / "a.png", data / "masks" / "a.png"
        monkeypatch.chdir(data / "images")
        with files_opened() as found, ThreadPoolExecutor(1) as pool:
            read_image(Path("a.png"))
            pool.submit(read_labels, mask).result()
            (data / "new.txt").write_text("written, not read")
        read_labels(data / "masks_of_others" / "a.png")
        assert found >= {str(image), str(mask)}
        assert not found & {str(data / "new.txt"), str(data / "masks_of_others" / "a.png")}

    def test_what_is_refused_is_recorded(self, data: Path) -> None:
        with files_opened() as found, masks_closed([data / "masks"]), pytest.raises(PermissionError):
            read_labels(data / "masks" / "a.png")
        assert str(data / "masks" / "a.png") in found

    def test_each_record_ends_with_its_own_body(self, data: Path) -> None:
        with files_opened() as outer:
            with files_opened() as inner:
                read_image(data / "images" / "a.png")
            read_labels(data / "masks" / "a.png")
        assert str(data / "masks" / "a.png") in outer - inner
        assert str(data / "images" / "a.png") in outer & inner

    @pytest.mark.filterwarnings("ignore:The image decoding")
    def test_torchvisions_readers_are_seen(self, data: Path) -> None:
        with files_opened() as found:
            torchvision.io.read_file(str(data / "images" / "a.png"))
        assert str(data / "images" / "a.png") in found
        assert torch.ops.image.read_file.overloads() == [
            "default"
        ]  # exporting a network looks through all operators
