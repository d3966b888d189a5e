"""`predict` with whatever a method segments with: found by run or by folder, run as in the run."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.config import PROTOCOLS, SCALES, compose, plain, typed
from benchmark.prediction.networks import load
from benchmark.store import file_hash, read_manifest
from datasets.base import TrainingView
from datasets.files.sealed import sealed
from methods.base import Kind, NotRunnable, Stage
from methods.registry import all_methods
from results.io import read_run
from tests.helpers.painter import LightPainter, Painter, PainterConfig
from tests.helpers.toys import CommandLine, Outcome, Toy, registered
from tests.helpers.trees import write_deep_colour, write_folder, write_image

WRITTEN = {
    "labels",
    "overlays",
    "regions",
    "regions.csv",
    "verdicts.csv",
    "classes.txt",
    "network.json",
    "finished.jsonl",
    ".lock",
}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("a.png", "deeper/b.jpg"):
        write_image(tmp_path / "photographs" / name, 1, (24, 16))
    return tmp_path / "photographs"


@pytest.fixture(scope="module")
def once(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CommandLine, Outcome]:
    """A run of a method that predicts and of one that does not, and what it said."""
    command_line = CommandLine(tmp_path_factory.mktemp("painted"), generated)
    with registered(Painter("painter"), Toy("toy")):
        done = command_line.run("painter,toy", "--seeds", "0")
    assert done.code == 0, done.err
    return command_line, done


@pytest.fixture
def painted(once: tuple[CommandLine, Outcome], command_line: CommandLine, third_party) -> None:
    """That run, in the command line's own folder."""
    third_party(Painter("painter"), Toy("toy"))
    command_line.begin_with(once[0])


def predict(command_line: CommandLine, photographs: Path, *arguments: str) -> Outcome:
    return command_line("predict", "--images", str(photographs), "--device", "cpu", *arguments)


def restate(artifact: Path, change: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Write the manifest anew, so that it fits the files, with a change."""
    manifest = read_manifest(artifact / "manifest.json") | change
    for name, said in manifest["files"].items():
        said |= {"sha256": file_hash(artifact / name), "bytes": (artifact / name).stat().st_size}
    (artifact / "manifest.json").write_text(json.dumps(sealed(manifest)))


@pytest.mark.parametrize("change", [{"run": "evil:go"}, {"settings_type": "evil:Settings"}])
def test_nothing_is_imported_that_a_manifest_names(
    command_line: CommandLine, painted: None, photographs: Path, monkeypatch: pytest.MonkeyPatch, change
) -> None:
    there = command_line.folder / "cwd"
    there.mkdir()
    (there / "evil.py").write_text(f"open({str(there / 'been')!r}, 'w')\ndef go(context, settings): pass\n")
    monkeypatch.chdir(there)
    monkeypatch.syspath_prepend(str(there))
    (artifact,) = command_line.store.glob("artifacts/paint/*")
    restate(artifact, change)
    done = predict(command_line, photographs, "--weights", str(artifact))
    assert done.code == 2
    assert "made by another version of the benchmark or of a plug-in (" in done.err
    assert done.err.count("\n") == 1
    assert not (there / "been").exists()


def test_the_run_says_where_the_networks_are_and_its_hint_works(
    once: tuple[CommandLine, Outcome], third_party, photographs: Path, tmp_path: Path
) -> None:
    third_party(Painter("painter"), Toy("toy"))
    command_line, ran = once
    (hint,) = [line for line in ran.out.splitlines() if line.startswith("To segment your images: ")]
    arguments = hint.partition(" wsss ")[2].replace("DIR", str(photographs)).split()
    arguments.append("--recursive")
    output = tmp_path / "out"
    done = command_line(*arguments, "--output", str(output), "--device", "cpu")
    assert done.code == 0, done.err
    for name in ("a", "deeper/b"):
        with Image.open(output / "labels" / f"{name}.png") as labels:
            assert labels.size == (24, 16)
            assert np.all(np.asarray(labels) == 1)
        assert (output / "overlays" / f"{name}.png").is_file()
    assert (output / "classes.txt").read_text().splitlines()[0] == "0 background"
    assert {p.name for p in output.iterdir()} == WRITTEN

    (place,) = [line for line in ran.out.splitlines() if line.startswith("network of painter seed 0: ")]
    by_weights = predict(
        command_line, photographs, "--weights", place.partition(": ")[2], "--output", str(tmp_path / "2")
    )
    assert by_weights.code == 0, by_weights.err
    assert (tmp_path / "2" / "labels" / "a.png").read_bytes() == (output / "labels" / "a.png").read_bytes()


def test_new_images_go_through_what_the_training_images_did(
    command_line: CommandLine, third_party, tmp_path: Path
) -> None:
    """A 12-bit camera's images, larger than `dataset.longest_side`: as they lie they would be nearly black."""
    third_party(LightPainter("painter"))
    data = write_folder(tmp_path / "folder", ["a,rust,train", "b,dent,train", "c,dent,val"], masks=False)
    half = np.full((40, 64), 400, np.uint16)
    half[:, 32:] = 4000
    for name in "abc":
        Image.fromarray(half).save(data / "images" / f"{name}.png")
    done = command_line.run_on(
        "painter", "--dataset", "folder", f"dataset.root={data}", "dataset.bits=12", "dataset.longest_side=32"
    )
    assert done.code == 0, done.err

    new, output = tmp_path / "new", tmp_path / "out"
    new.mkdir()
    Image.fromarray(half).save(new / "grey.png")
    write_deep_colour(new / "colour.png", np.repeat(half[..., None], 3, 2))
    run = ("--run", str(command_line.output), "--output", str(output))
    done = predict(command_line, new, *run)
    assert done.code == 0, done.err
    for name in ("grey", "colour"):
        with Image.open(output / "labels" / f"{name}.png") as labels:
            assert np.array_equal(np.asarray(labels), half > 2000)
        with Image.open(output / "overlays" / f"{name}.png") as drawn:
            assert drawn.size == (32, 20)
    assert {p.name for p in output.iterdir()} == WRITTEN

    Image.fromarray(half * 2).save(new / "deeper.png")
    done = predict(command_line, new, *run)
    assert done.code == 2
    assert f"skipped: {new / 'deeper.png'}: holds 8000, more than 12 bits" in done.out.replace("\n", " ")
    assert done.err.startswith("error: 1 of 3 images could not be used")


def test_the_records_say_where_every_artifact_is(command_line: CommandLine, painted: None) -> None:
    for run in read_run(command_line.output).runs:
        for stage in run["stages"]:
            manifest = json.loads((command_line.output / stage["path"] / "manifest.json").read_text())
            assert manifest["key"] == stage["key"]


@pytest.mark.parametrize("place", ["out", "."])
def test_what_was_written_among_the_images_is_not_segmented(
    command_line: CommandLine, painted: None, photographs: Path, place: str
) -> None:
    for _ in range(2):
        done = predict(
            command_line, photographs, "--run", str(command_line.output), "--output", str(photographs / place),
            "--recursive",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1].startswith("2 images in"), done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "paintr"), "--method paintr: {run} has no network of it; there: painter"),
        (("--method", "toy"), "--method toy: {run} has no network of it; there: painter"),
        (("--seed", "7"), "--seed 7: {run} has no network of it; there: 0"),
    ],
)
def test_a_network_that_is_not_there(
    command_line: CommandLine, painted: None, photographs: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = predict(command_line, photographs, "--run", str(command_line.output), *arguments)
    assert done.code == 2
    assert done.err == f"error: {words.format(run=command_line.output)}\n"


def test_several_networks_are_named(
    command_line: CommandLine, painted: None, photographs: Path, third_party
) -> None:
    command_line.run("painter", "--seeds", "1")
    run = str(command_line.output)
    done = predict(command_line, photographs, "--run", run)
    assert f"--run {run}: choose a network with --seed; there: 0, 1" in done.err
    command_line.run("painter", "method.painter.colour=2")
    done = predict(command_line, photographs, "--run", run, "--seed", "0")
    assert "several networks fit; choose one with --weights: " in done.err
    assert done.err.count("/paint/") == 2
    assert "colour=2" in done.err
    third_party(Painter("painter"), Painter("other"))
    command_line.run("other")
    assert (
        "choose a network with --method; there: painter, other"
        in predict(command_line, photographs, "--run", run).err
    )


def test_artifacts_that_segment_nothing(command_line: CommandLine, painted: None, photographs: Path) -> None:
    (labels,) = command_line.store.glob("artifacts/labels/*")
    done = predict(command_line, photographs, "--weights", str(labels))
    assert done.code == 2
    assert "no stage has segmented with it" in done.err


def test_a_network_that_is_gone_or_damaged(
    command_line: CommandLine, painted: None, photographs: Path, tmp_path: Path
) -> None:
    (network,) = command_line.store.glob("artifacts/learn/*")
    (network / "colour.txt").write_text("green")
    restate(network)
    done = predict(
        command_line, photographs, "--run", str(command_line.output), "--output", str(tmp_path / "o")
    )
    assert done.code == 2
    assert f"{network}: segmenting with it fails: ValueError: invalid literal" in done.err
    assert done.err.count("\n") == 1
    (network / "colour.txt").write_text("1")
    done = predict(command_line, photographs, "--run", str(command_line.output))
    assert "damaged (colour.txt has 1 bytes instead of 5); set aside in" in " ".join(done.out.split())
    assert not network.exists()
    for _ in range(2):
        assert done.code == 2
        assert "is not in the store any more, or damaged; run the command that made it again" in done.err
        done = predict(command_line, photographs, "--run", str(command_line.output))
    assert command_line.run("painter,toy", "--seeds", "0").code == 0  # as the remedy says
    done = predict(
        command_line, photographs, "--run", str(command_line.output), "--output", str(tmp_path / "o")
    )
    assert done.code == 0, done.err


def test_settings_of_another_version_are_one_line(
    command_line: CommandLine, painted: None, photographs: Path
) -> None:
    (artifact,) = command_line.store.glob("artifacts/paint/*")
    whole = (artifact / "manifest.json").read_text()
    for change in (
        {"settings_type": "tests.helpers.painter:Gone"},
        {"settings": {"hue": 1}},
        {"settings": []},
        {"classes": "abc"},
        {"classes": [1]},
        {"conversion": {"bits": "12"}},
        {"conversion": None},
        {"seed": "0"},
        {"run": ["a"]},
    ):
        (artifact / "manifest.json").write_text(whole)
        restate(artifact, change)
        done = predict(command_line, photographs, "--run", str(command_line.output))
        assert done.code == 2
        assert "made by another version" in done.err
        assert done.err.count("\n") == 1
    (artifact / "manifest.json").write_text(whole)
    assert plain(load(artifact).settings) == plain(PainterConfig())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_settings_of_every_prediction_come_back_typed(scale: str, protocol: str) -> None:
    view = TrainingView("x", ("a",), {"train": (), "val": ()})
    seen = 0
    for name, method in all_methods().items():
        config = compose([name], None, scale, protocol)
        try:
            stages = method.stages(config.method[name], view, config.shared)
        except NotRunnable:
            continue
        for settings in (s.settings for s in stages if s.yields == Kind.PREDICTION):
            again = typed(type(settings), plain(settings))
            assert type(again) is type(settings)
            assert plain(again) == plain(settings)
            seen += 1
    assert seen


def test_every_picture_is_read_or_named(command_line: CommandLine, painted: None, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for k, name in enumerate(
        ("a.png", "b.bmp", "c.tif", "d.jpg", "f.gif", "h.ppm", ".hidden.png", "sub/.cache/g.png")
    ):
        write_image(new / name, k)
    write_image(new / "e.jpg", 9)
    (new / "e.jpg").rename(new / "e.JFIF")
    (new / "notes.txt").touch()
    run = ("--run", str(command_line.output), "--output", str(tmp_path / "out"), "--recursive")
    done = predict(command_line, new, *run)
    said = done.out.replace("\n", " ")
    assert {p.name for p in (tmp_path / "out" / "labels").rglob("*.*")} == {f"{name}.png" for name in "abcde"}
    for name in ("f.gif", "h.ppm"):
        assert (
            f"skipped: {new / name} is not JPEG, PNG, WebP, BMP, TIFF or JPEG 2000; convert it to PNG" in said
        )
    assert "1 file is no picture (notes.txt)" in said
    assert done.err.startswith("error: 2 of 7 images could not be used")


def test_odd_files_among_the_images(command_line: CommandLine, painted: None, tmp_path: Path) -> None:
    """Names that are alike keep apart; what is no image is named and skipped, and waited for is nothing."""
    new, output = tmp_path / "new", tmp_path / "out"
    for name in ("a.jpg", "a.png", "a.jpg.png", "x.tmp.png", "folder.tmp/b.png"):
        write_image(new / name, 1, (24, 16))
    (new / "loop.png").symlink_to(new / "loop.png")
    (new / "device.png").symlink_to("/dev/zero")
    os.mkfifo(new / "pipe.png")
    done = predict(
        command_line, new, "--run", str(command_line.output), "--output", str(output), "--recursive"
    )
    assert done.code == 2
    said = " ".join(done.out.split())
    for name in ("loop", "device", "pipe"):
        assert f"skipped: {new / name}.png: " in said
    assert done.err.startswith("error: 3 of 8 images could not be used")
    assert {p.relative_to(output / "labels").as_posix() for p in (output / "labels").rglob("*.png")} == {
        "a.jpg.png", "a.png.png", "a.jpg.png.png", "x.tmp.png", "folder.tmp/b.png"
    }  # fmt: skip


class Doubter(Painter):
    """Paints a square of its colour and is three quarters sure of it."""

    def stages(self, config: Any, view: TrainingView, shared: Any) -> Sequence[Stage]:
        learn, paint = super().stages(config, view, shared)
        return [learn, replace(paint, run="tests.helpers.painter:paint_square")]


@pytest.fixture
def doubting(command_line: CommandLine, third_party) -> tuple[str, ...]:
    """Arguments that choose the network of a run whose method reports probabilities."""
    third_party(Doubter("painter"))
    done = command_line.run("painter")
    assert done.code == 0, done.err
    return "--run", str(command_line.output), "--output", str(command_line.folder / "out")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_verdicts_regions_and_scores(
    command_line: CommandLine, doubting: tuple[str, ...], photographs: Path
) -> None:
    done = predict(command_line, photographs, *doubting, "--write", "all")
    assert done.code == 0, done.err
    output = command_line.folder / "out"
    (row,) = rows(output / "verdicts.csv")
    name = row["verdict"]
    assert row == {
        "file": "a.png",
        "verdict": (output / "classes.txt").read_text().split()[3],
        "score": "0.7500",
    }
    (region,) = rows(output / "regions.csv")
    assert list(region.values()) == ["a.png", name, "2", "3", "4", "4", "16", "0.7500", "3.5", "4.5"]
    said = json.loads((output / "regions" / "a.json").read_text())
    assert (said["width"], said["height"], said["verdict"], said["score"]) == (24, 16, name, 0.75)
    (listed,) = said["regions"]
    assert listed == {"class": name, "box": [2, 3, 4, 4], "area": 16, "score": 0.75, "centroid": [3.5, 4.5]}
    maps = {path.name: path / "a.png" for path in (output / "scores").iterdir()}
    assert len(maps) == len((output / "classes.txt").read_text().splitlines()) - 1
    with Image.open(maps[f"1-{name}"]) as image:
        assert image.mode == "I;16"
        scores = np.asarray(image)
    assert scores.shape == (16, 24)
    assert set(scores[3:7, 2:6].flat) == {round(0.75 * 65535)}
    assert scores.sum() == 16 * round(0.75 * 65535)
    assert done.out.splitlines()[-1].endswith(f"a second): 1 {name}")

    done = predict(command_line, photographs, *doubting, "--min-area", "17", "--write", "verdicts")
    assert rows(output / "verdicts.csv") == [{"file": "a.png", "verdict": "OK", "score": "0.7500"}]
    assert done.out.splitlines()[-2] == f"Written to {output}: verdicts.csv (file, OK or class, score)"


def test_subfolders_are_taken_when_asked_for(
    command_line: CommandLine, doubting: tuple[str, ...], photographs: Path
) -> None:
    done = predict(command_line, photographs, *doubting)
    assert f"Images: 1 from {photographs}\n" in done.out
    assert "note: left out: 1 picture in 1 subfolder; --recursive takes them, too\n" in done.out
    done = predict(command_line, photographs, *doubting, "--recursive")
    assert f"Images: 2 from {photographs} and 1 subfolder\n" in done.out
    (photographs / "a.png").unlink()
    done = predict(command_line, photographs, *doubting)
    assert done.code == 2
    assert "directly in it, 1 in 1 subfolder; add --recursive" in done.err


def test_a_list_of_files_and_standard_input(
    command_line: CommandLine, doubting: tuple[str, ...], photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [photographs / "deeper" / "b.jpg", photographs / "a.png", photographs / "gone.png"]
    again = photographs / "deeper" / ".." / "a.png"  # the second, written otherwise
    text = "".join(f"{name}\n" for name in (*names, again))
    (listed := command_line.folder / "list.txt").write_text(text)
    done = predict(command_line, listed, *doubting)
    assert f"Images: 3 from {listed}\n" in done.out
    assert f"skipped: {names[2]}: no such image" in done.out
    assert done.err.startswith("error: 1 of 3 images could not be used")
    verdicts = rows(command_line.folder / "out" / "verdicts.csv")
    assert [row["file"] for row in verdicts] == ["deeper/b.jpg", "a.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO(text.replace(f"{names[2]}\n", "")))
    done = predict(command_line, Path("-"), *doubting)
    assert done.code == 0, done.err
    assert rows(command_line.folder / "out" / "verdicts.csv") == verdicts
    done = predict(command_line, names[1], *doubting)
    assert f"Images: 1 from {names[1]}\n" in done.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no file; write a path a line"),
        ("x.png\n", "names 1 files and none is there (x.png first); write paths from the current folder"),
        (b"\xff\xfe", "neither an image nor a list of files in UTF-8"),
    ],
)
def test_a_list_that_is_none(
    command_line: CommandLine, painted: None, tmp_path: Path, text, words: str
) -> None:
    (listed := tmp_path / "list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = predict(command_line, listed, "--run", str(command_line.output))
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_a_folder_is_watched(
    command_line: CommandLine, doubting: tuple[str, ...], photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New files are taken once they have their size; those with a verdict are left out when it starts again."""
    output, looks = command_line.folder / "out", iter(range(20))

    def wait() -> None:
        look = next(looks)
        if look == 1:
            write_image(photographs / "c.png", 7, (24, 16))
            (photographs / "d.png").write_bytes((photographs / "c.png").read_bytes()[:60])  # being written
        if look == 2:
            write_image(photographs / "d.png", 8, (24, 16))
        if look == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.prediction.images.pause", wait)
    watch = ("predict", "--watch", str(photographs), "--device", "cpu", *doubting)
    done = command_line(*watch)
    assert (done.code, done.err) == (0, "")
    verdicts = rows(output / "verdicts.csv")
    assert [row["file"] for row in verdicts] == ["a.png", "c.png", "d.png"]
    assert f"c: {verdicts[0]['verdict']} (0.75)\n" in done.out
    assert len(rows(output / "regions.csv")) == 3
    assert "skipped" not in done.out

    write_image(photographs / "a.jpg", 9, (24, 16))
    looks = iter(range(3, 20))
    done = command_line(*watch)
    assert "note: 3 files have their verdict there already" in done.out
    assert [row["file"] for row in rows(output / "verdicts.csv")] == ["a.png", "c.png", "d.png", "a.jpg"]
    assert {"a.png", "a.jpg.png"} <= {path.name for path in (output / "labels").iterdir()}
    looks = iter(range(3, 20))
    done = command_line(*watch, "--min-area", "2")
    assert "verdict there already" not in done.out
    assert len(rows(output / "verdicts.csv")) == 4


def test_a_stage_that_reports_no_probabilities(
    command_line: CommandLine, painted: None, photographs: Path
) -> None:
    output = command_line.folder / "out"
    done = predict(command_line, photographs, "--run", str(command_line.output), "--output", str(output))
    assert done.code == 0, done.err
    assert "note: the network's stage reports no probabilities, so there are no scores\n" in done.out
    (row,) = rows(output / "verdicts.csv")
    assert row["score"] == ""
    assert row["verdict"] != "OK"
