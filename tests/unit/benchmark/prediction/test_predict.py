"""`predict` with whatever a method segments with: found by run or by folder, run as in the run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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
from methods.base import Kind, NotRunnable
from methods.registry import all_methods
from results.io import read_run
from tests.helpers.painter import LightPainter, Painter, PainterConfig
from tests.helpers.toys import CommandLine, Outcome, Toy, registered
from tests.helpers.trees import write_deep_colour, write_folder, write_image


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
    output = tmp_path / "out"
    done = command_line(*arguments, "--output", str(output), "--device", "cpu")
    assert done.code == 0, done.err
    for name in ("a", "deeper/b"):
        with Image.open(output / "labels" / f"{name}.png") as labels:
            assert labels.size == (24, 16)
            assert np.all(np.asarray(labels) == 1)
        assert (output / "overlays" / f"{name}.png").is_file()
    assert (output / "classes.txt").read_text().splitlines()[0] == "0 background"
    assert {p.name for p in output.iterdir()} == {"labels", "overlays", "classes.txt"}

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
    assert {p.name for p in output.iterdir()} == {"labels", "overlays", "classes.txt"}

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
            command_line, photographs, "--run", str(command_line.output), "--output", str(photographs / place)
        )
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
        ("a.png", "b.bmp", "c.tif", "d.jpg", "f.gif", ".hidden.png", "sub/.cache/g.png")
    ):
        write_image(new / name, k)
    write_image(new / "e.jpg", 9)
    (new / "e.jpg").rename(new / "e.JFIF")
    (new / "notes.txt").touch()
    run = ("--run", str(command_line.output), "--output", str(tmp_path / "out"))
    done = predict(command_line, new, *run)
    said = done.out.replace("\n", " ")
    assert {p.name for p in (tmp_path / "out" / "labels").rglob("*.*")} == {"a.png", "d.png", "e.png"}
    for name in ("b.bmp", "c.tif", "f.gif"):
        assert f"skipped: {new / name} is neither JPEG, PNG nor WebP; convert it to PNG" in said
    assert "1 files are no pictures (notes.txt)" in said
    assert done.err.startswith("error: 3 of 6 images could not be used")


def test_odd_files_among_the_images(command_line: CommandLine, painted: None, tmp_path: Path) -> None:
    """Names that are alike keep apart; what is no image is named and skipped, and waited for is nothing."""
    new, output = tmp_path / "new", tmp_path / "out"
    for name in ("a.jpg", "a.png", "a.jpg.png", "x.tmp.png", "folder.tmp/b.png"):
        write_image(new / name, 1, (24, 16))
    (new / "loop.png").symlink_to(new / "loop.png")
    (new / "device.png").symlink_to("/dev/zero")
    os.mkfifo(new / "pipe.png")
    done = predict(command_line, new, "--run", str(command_line.output), "--output", str(output))
    assert done.code == 2
    said = " ".join(done.out.split())
    for name in ("loop", "device", "pipe"):
        assert f"skipped: {new / name}.png: " in said
    assert done.err.startswith("error: 3 of 8 images could not be used")
    assert {p.relative_to(output / "labels").as_posix() for p in (output / "labels").rglob("*.png")} == {
        "a.jpg.png", "a.png.png", "a.jpg.png.png", "x.tmp.png", "folder.tmp/b.png"
    }  # fmt: skip
