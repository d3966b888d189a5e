"""What is damaged in the store is set aside, said, and made again; it is never used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmark.store import Store
from datasets.base import DataError
from results.io import read_run
from tests.helpers.damage import DAMAGE, flip
from tests.helpers.toys import Toy


def numbers(folder: Path) -> list[tuple]:
    """Every score of a run."""
    records = read_run(folder).records
    scores = records[~records.metric.str.contains("seconds|memory|share")]
    return [tuple(map(str, row)) for row in scores.itertuples(index=False)]


@pytest.fixture
def stored(tmp_path: Path) -> Store:
    """A store that has one artifact of two files."""
    store = Store(tmp_path / "store")
    with store.building("cam", "k") as work:
        assert work is not None
        (work / "a.bin").write_bytes(b"content of a file")
        (work / "labels").mkdir()
        (work / "labels" / "b.bin").write_bytes(b"content of another")
        store.commit("cam", "k", work, {"seconds": 1.5})
    return Store(store.root)  # as another process sees it


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["a.bin", "labels/b.bin", "manifest.json"])
def test_a_damaged_artifact_is_set_aside_and_said(stored, name, kind, capsys):
    path = stored.path("cam", "k")
    assert Store(stored.root).intact("cam", "k") is not None
    DAMAGE[kind](path / name)
    assert stored.intact("cam", "k") is None
    if (name, kind) == ("manifest.json", "removed"):  # unfinished, as after a kill
        return
    aside = stored.root / "damaged" / "cam" / "k-0"
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"{path}: damaged ({name}")
    assert said.endswith(f"set aside in {aside}")
    assert aside.is_dir()
    assert not path.exists()


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", '"text"', "7", "[" * 100_000, '{"files": 3}', '{"files": {"a": 1}}']
)
def test_a_manifest_that_is_something_else_is_damage(stored, text):
    (stored.path("cam", "k") / "manifest.json").write_text(text)
    assert stored.find("cam", "k") is None
    assert stored.intact("cam", "k") is None
    assert (stored.root / "damaged" / "cam" / "k-0").is_dir()


def test_bytes_that_are_no_text_are_damage(stored):
    (stored.path("cam", "k") / "manifest.json").write_bytes(b"{\xff}")
    assert stored.intact("cam", "k") is None


def test_a_number_changed_in_a_manifest_is_noticed(stored):
    path = stored.path("cam", "k") / "manifest.json"
    path.write_text(path.read_text().replace("1.5", "1.6"))
    assert stored.intact("cam", "k") is None


def test_what_was_set_aside_before_stays(stored):
    for number in range(2):
        flip(stored.path("cam", "k") / "a.bin")
        assert Store(stored.root).intact("cam", "k") is None
        with stored.building("cam", "k") as work:
            (work / "a.bin").write_bytes(b"again")
            stored.commit("cam", "k", work, {})
        assert (stored.root / "damaged" / "cam" / f"k-{number}").is_dir()


def test_what_another_run_is_making_again_is_left_to_it(stored):
    flip(stored.path("cam", "k") / "a.bin")
    with stored.lock("k"):
        assert Store(stored.root).intact("cam", "k") is None
    assert stored.path("cam", "k").exists()


def test_a_store_that_cannot_be_changed_says_what_to_remove(stored, monkeypatch):
    flip(stored.path("cam", "k") / "a.bin")

    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(
        DataError, match=r"k: damaged \(a\.bin .* not permitted\); remove this folder and run the same"
    ):
        stored.intact("cam", "k")


def test_hashes_of_unchanged_files_are_remembered(stored, monkeypatch):
    for path in stored.path("cam", "k").rglob("*.bin"):
        os.utime(path, ns=(10**18, 10**18))
    monkeypatch.setattr("datasets.files.fingerprints._SETTLED_NS", -(10**12))  # ctime cannot be set
    assert Store(stored.root).intact("cam", "k") is not None

    def read(path: Path) -> str:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("datasets.files.fingerprints._digest", read)
    assert Store(stored.root).intact("cam", "k") is not None


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_run_makes_damaged_artifacts_again_with_equal_numbers(command_line, third_party, kind):
    third_party(Toy("sound"))
    assert command_line.run("sound").code == 0
    first = numbers(command_line.output)
    files = sorted(p for p in command_line.store.rglob("artifacts/*/*/*") if p.is_file())
    assert {p.suffix for p in files} >= {".json", ".parquet"}
    for file in files:
        DAMAGE[kind](file)
        done = command_line.run("sound")
        assert done.code == 0, (file, done.err)
        assert "Traceback" not in done.out + done.err
        assert ("damaged (" in done.out) == (kind != "removed" or file.name != "manifest.json")
        assert numbers(command_line.output) == first
        assert json.loads((file.parent / "manifest.json").read_text())["files"] is not None


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_pictures_are_drawn_again(command_line, third_party, kind):
    third_party(Toy("sound"))
    assert command_line.run("sound").code == 0
    pictures = {p: p.read_bytes() for p in (command_line.output / "panels").glob("*.webp")}
    assert pictures
    for path in pictures:
        DAMAGE[kind](path)
    done = command_line("report", str(command_line.output))
    assert done.code == 0, done.err
    assert "Traceback" not in done.out + done.err
    done = command_line.run("sound")
    assert done.code == 0, done.err
    assert {p: p.read_bytes() for p in (command_line.output / "panels").glob("*.webp")} == pictures


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_resamples_are_made_again(command_line, third_party, kind):
    third_party(Toy("sound"))
    assert command_line.run("sound").code == 0
    files = list((command_line.output / "resamples").glob("*.npz"))
    assert files
    for path in files:
        DAMAGE[kind](path)
    done = command_line.run("sound")
    assert done.code == 0, done.err
    assert command_line("report", str(command_line.output)).code == 0
