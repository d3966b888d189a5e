"""Folders and files that cannot be written are said in one line before anything is computed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from benchmark import folders
from benchmark.bundles.form import TEMPLATE
from benchmark.failures import ConfigError
from benchmark.folders import check_file, check_writable
from tests.helpers.painter import Painter
from tests.helpers.toys import CommandLine, Toy


@pytest.fixture
def below_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("not a folder")
    return tmp_path / "file" / "folder"


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b", "--output")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(folders, "TemporaryFile", refuse)
    with pytest.raises(ConfigError, match=r"--output .*: cannot be written \(Permission denied\); choose"):
        check_writable(tmp_path, "--output")


def check(command_line: CommandLine, folder: Path, option: str, *arguments: str) -> None:
    done = command_line(*arguments)
    assert done.code == 2
    assert (
        done.err == f"error: {option} {folder}: cannot be written (Not a directory); choose another folder\n"
    )
    assert not (command_line.folder / "data").exists(), "nothing was begun"


@pytest.mark.parametrize("option", ["--output", "runtime.store"])
def test_run(command_line: CommandLine, third_party, below_a_file: Path, option: str) -> None:
    third_party(Toy("toy"))
    bad_output = option == "--output"
    output = below_a_file if bad_output else command_line.output
    chosen = command_line.store if bad_output else below_a_file
    check(
        command_line, below_a_file, option, "run", "--methods", "toy", "--device", "cpu",
        "--output", str(output), f"runtime.store={chosen}", f"dataset.root={command_line.folder / 'data'}",
    )  # fmt: skip


def test_a_store_that_cannot_be_written_will_do_where_it_holds_everything(
    command_line: CommandLine, third_party, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party(Toy("toy"))
    assert command_line.run("toy").code == 0

    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def tried(dir: Path) -> object:
        return refuse(dir) if dir == command_line.store else TemporaryFile(dir=dir)

    monkeypatch.setattr(folders, "TemporaryFile", tried)
    monkeypatch.setattr(os, "utime", refuse)
    done = command_line.run("toy")
    assert done.code == 0, done.err
    assert "1 of 1 stages stored before" in done.out
    done = command_line.run("toy", "method.toy.value=1")
    assert done.code == 2
    assert "runtime.store" in done.err
    assert "cannot be written (Permission denied); choose another folder" in done.err


def test_experiment(command_line: CommandLine, below_a_file: Path) -> None:
    check(
        command_line, below_a_file, "--output", "run", "--experiment", "semantic_modulation/table3",
        "--device", "cpu", "--output", str(below_a_file), f"runtime.store={command_line.store}",
        f"dataset.root={command_line.folder / 'data'}",
    )  # fmt: skip


def test_pretrain(command_line: CommandLine, below_a_file: Path) -> None:
    check(command_line, below_a_file, "--output", "pretrain", "all", "--output", str(below_a_file))


def test_predict(command_line: CommandLine, third_party, below_a_file: Path, tmp_path: Path) -> None:
    third_party(Painter("painter"))
    command_line.run("painter")
    images = next(command_line.data.rglob("images"))
    done = command_line(
        "predict", "--run", str(command_line.output), "--images", str(images), "--output", str(below_a_file)
    )
    assert (done.code, done.out) == (2, "")
    assert f"--output {below_a_file}: cannot be written (Not a directory)" in done.err


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_a_file_is_not_written_in_the_place_of_something_else(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "result.json"
    if kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        place = tmp_path / "pipe"
        if kind != "pipe":
            place = tmp_path / "link"
            place.symlink_to("pipe")
    said = (
        "is a folder; give a file in it"
        if kind == "folder"
        else "is a pipe or device; give the name of a file"
    )
    with pytest.raises(ConfigError, match=f"--output {place}: {said}"):
        check_file(place, "--output")


def test_files_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "there").write_text("x")
    for name in ("link", "there", "new/file"):
        check_file(tmp_path / name, "--output")
    assert (tmp_path / "there").read_text() == "x"
    assert not (tmp_path / "new" / "file").exists()


@pytest.mark.parametrize(
    "arguments", [["bundle", "RUN", "--form", "FORM", "--output"], ["audit", ".", "--output"]]
)
def test_commands_leave_a_pipe_where_it_is(
    command_line: CommandLine, tmp_path: Path, arguments: list[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "form.yaml").write_text(
        TEMPLATE.replace('submitter: ""', "submitter: A")
        .replace('hardware: ""', "hardware: B")
        .replace('masks_used: ""', "masks_used: nothing")
    )
    places = {"RUN": str(tmp_path), "FORM": str(tmp_path / "form.yaml")}
    done = command_line(*(places.get(each, each) for each in arguments), str(tmp_path / "pipe"))
    assert (done.code, done.err) == (
        2,
        f"error: --output {tmp_path / 'pipe'}: is a pipe or device; give the name of a file\n",
    )
    assert (tmp_path / "pipe").is_fifo()


def test_report_names_the_folder_that_cannot_be_written(
    command_line: CommandLine, tmp_path: Path, below_a_file: Path
) -> None:
    done = command_line("report", str(tmp_path), "--output", str(below_a_file))
    assert (
        done.err
        == f"error: --output {below_a_file}: cannot be written (Not a directory); choose another folder\n"
    )
    done = command_line("report", str(tmp_path / "nowhere"))
    assert "not a run folder" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"--output .*file: cannot be written \(it is no folder\); choose"):
        check_writable(tmp_path / "file", "--output")
