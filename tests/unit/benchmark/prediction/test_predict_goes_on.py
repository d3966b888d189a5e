"""`predict` goes on: with images that are moved away, what an earlier call has left, and too little memory."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from benchmark.failures import ConfigError
from benchmark.prediction import predict
from benchmark.prediction.networks import Predictor
from datasets.base import Conversion
from methods.base import MethodError
from tests.helpers.painter import FITTING, PainterConfig
from tests.helpers.trees import write_image

DEFAULT = ("verdicts", "regions", "labels", "overlays")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images, for a network that paints a square."""
    use(monkeypatch, "paint_square")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for k, name in enumerate("abcd"):
        write_image(tmp_path / "new" / f"{name}.png", k, (24, 16))
    return tmp_path / "new"


def use(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    network = Predictor(
        f"tests.helpers.painter:{stage}", PainterConfig(), {}, ("cat", "dog"), Conversion(), 0
    )
    monkeypatch.setattr(predict, "load", lambda weights: network)


@pytest.fixture
def watch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Watches the folder for three looks; how many images were segmented, by verdict."""

    def call(*parts: str, meanwhile: Sequence[Callable[[], object]] = ()) -> Counter[str]:
        todo = iter([lambda: None, *meanwhile, lambda: None, lambda: None, end])
        monkeypatch.setattr("benchmark.prediction.images.pause", lambda: next(todo)())
        output = folder.parent / "out"
        return predict.predict_images(Path("w"), folder, output, "cpu", parts or DEFAULT, watch=True).verdicts

    def end() -> None:
        raise KeyboardInterrupt

    return call


def rows(folder: Path, table: str = "verdicts") -> list[str]:
    with (folder.parent / "out" / f"{table}.csv").open(newline="") as file:
        return [row["file"] for row in csv.DictReader(file)]


def test_an_image_that_is_moved_away_is_said_once(folder: Path, watch, monkeypatch, capsys) -> None:
    copy = predict._copy

    def moving(path: Path, to: Path) -> tuple[int, int]:
        if path.name == "b.png":
            path.unlink()
        state = copy(path, to)
        if path.name == "c.png":  # read already
            path.unlink()
        return state

    monkeypatch.setattr(predict, "_copy", moving)
    assert watch().total() == 3
    assert rows(folder) == ["a.png", "c.png", "d.png"]
    said = capsys.readouterr().out.replace("\n", " ")
    assert said.count(f"note: {folder / 'b.png'}: moved away before it was read") == 1
    assert "skipped" not in said


def test_what_is_missing_or_outdated_is_made_again(folder: Path, watch, capsys) -> None:
    output = folder.parent / "out"
    assert watch().total() == 4
    assert watch().total() == 0
    assert "note: 4 files have their verdict there already" in capsys.readouterr().out
    write_image(folder / "a.png", 9, (20, 16))
    (output / "labels" / "b.png").unlink()
    assert watch().total() == 2
    assert sorted(rows(folder)) == sorted(rows(folder, "regions")) == ["a.png", "b.png", "c.png", "d.png"]
    assert json.loads((output / "regions" / "a.json").read_text())["width"] == 20
    assert watch(*DEFAULT, "scores").total() == 4
    (output / "scores" / "2-dog" / "c.png").unlink()
    assert watch(*DEFAULT, "scores").total() == 1
    assert watch("labels").total() == 0
    (output / "verdicts.csv").unlink()
    assert watch("verdicts").total() == 4
    assert sorted(rows(folder)) == ["a.png", "b.png", "c.png", "d.png"]


def test_an_image_that_is_written_anew_has_its_rows_once_and_keeps_its_name(folder: Path, watch) -> None:
    anew = [
        lambda: write_image(folder / "a.png", 9, (20, 16)),
        lambda: write_image(folder / "a.jpg", 9, (24, 16)),
    ]
    assert watch(meanwhile=anew).total() == 6
    assert (
        sorted(rows(folder))
        == sorted(rows(folder, "regions"))
        == ["a.jpg", "a.png", "b.png", "c.png", "d.png"]
    )
    write_image(folder / "a.png", 10, (22, 16))
    assert watch().total() == 1
    written = {
        path.name: json.loads(path.read_text()) for path in (folder.parent / "out" / "regions").iterdir()
    }
    assert (written["a.json"]["file"], written["a.json"]["width"]) == ("a.png", 22)
    assert (written["a.jpg.json"]["file"], written["a.jpg.json"]["width"]) == ("a.jpg", 24)
    assert "a.png.json" not in written


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "5", "{}", "[" * 10**5, '{"file": 1, "name": "a"}',
     '{"file": "a.png", "name": "../a", "size": 1, "changed": 1, "parts": [], "scored": true}'],
)  # fmt: skip
def test_a_damaged_record_of_what_is_finished_is_made_again(folder: Path, watch, line: str) -> None:
    watch()
    record = folder.parent / "out" / "finished.jsonl"
    kept = record.read_text().splitlines()
    record.write_text("\n".join([line, *kept[1:]]))
    assert watch().total() == 1
    assert sorted(rows(folder)) == ["a.png", "b.png", "c.png", "d.png"]


def test_pipes_where_an_earlier_call_wrote_are_replaced(folder: Path, watch) -> None:
    for name in ("network.json", "finished.jsonl", "verdicts.csv", "classes.txt"):
        watch()
        (folder.parent / "out" / name).unlink()
        os.mkfifo(folder.parent / "out" / name)
        watch()
        assert (folder.parent / "out" / name).is_file()
    assert rows(folder) == ["a.png", "b.png", "c.png", "d.png"]


def test_two_calls_do_not_write_to_one_folder(folder: Path, watch) -> None:
    output = folder.parent / "out"
    output.mkdir()
    with FileLock(output / ".lock"), pytest.raises(ConfigError, match="another `predict` writes there"):
        watch()
    assert watch().total() == 4


def test_what_does_not_fit_the_memory_goes_on_in_smaller_batches(folder: Path, monkeypatch, capsys) -> None:
    use(monkeypatch, "paint_hungrily")
    monkeypatch.setattr(predict, "AT_ONCE", 3)
    done = predict.predict_images(Path("w"), folder, folder.parent / "out", "cpu", DEFAULT)
    assert done.verdicts == {"cat": 4}
    assert rows(folder) == rows(folder, "regions") == ["a.png", "b.png", "c.png", "d.png"]
    said = capsys.readouterr().out.replace("\n", " ")
    assert said.count("predict: 3 images at once do not fit the memory; going on with 1") == 1


def test_one_image_that_does_not_fit_is_one_line(folder: Path, monkeypatch) -> None:
    use(monkeypatch, "paint_hungrily")
    monkeypatch.setitem(FITTING, "images", 0)
    with pytest.raises(MethodError, match=r"out of memory with one image at a time: .*--device cpu"):
        predict.predict_images(Path("w"), folder, folder.parent / "out", "cpu", DEFAULT)
