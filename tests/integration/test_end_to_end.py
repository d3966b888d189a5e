"""All methods through the real command line, in a process of its own, on a few generated pictures.

What reads the run does so in this process: artifacts' keys and records have to agree between the two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from datasets.shapes.dataset import Shapes, ShapesConfig
from methods.registry import all_methods
from results.schema import COLUMNS, SCHEMA_VERSION
from tests.conftest import ROOT
from tests.helpers.tiny import data, sizes
from tests.helpers.toys import CommandLine
from tests.helpers.trees import write_image

STANDARD = [name for name, method in all_methods().items() if method.default]


@dataclass(frozen=True)
class Run:
    """A finished `run`: its folder and the arguments of a repetition."""

    folder: Path
    arguments: tuple[str, ...]

    @property
    def runs(self) -> list[dict]:
        runs: list[dict] = json.loads((self.folder / "run" / "cells.json").read_text())["cells"]
        return runs

    def segment_artifact(self) -> Path:
        stage = next(s for s in self.runs[0]["stages"] if s["name"] == "segment")
        return self.folder / "store" / "artifacts" / "segment" / stage["key"]


def execute(folder: Path, arguments: tuple[str, ...]) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(folder, arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("end-to-end")
    place = ("--output", str(folder / "run"), f"runtime.store={folder / 'store'}")
    options = ("--methods", "all", "--device", "cpu")
    return execute(folder, ("run", *options, *place, *data(folder / "data"), *sizes(STANDARD)))


@pytest.mark.slow
def test_every_method_trains_in_mixed_precision(tmp_path):
    names = list(all_methods())
    place = ("--output", str(tmp_path / "run"), f"runtime.store={tmp_path / 'store'}")
    options = ("--methods", ",".join(names), "--device", "cpu", "runtime.precision=bf16-mixed")
    few = (*data(tmp_path / "data"), "dataset.train=8", "dataset.val=4")
    mixed = execute(tmp_path, ("run", *options, *place, *few, *sizes(names, iterations=2)))
    assert {(c["status"], c["reason"]) for c in mixed.runs} == {("done", "")}
    trained = [stage for run in mixed.runs for stage in run["stages"] if stage["losses"]]
    assert {run["method"] for run in mixed.runs} == set(names)
    assert len(trained) >= len(names)


def test_the_board_has_every_method_and_every_stage(finished):
    runs = [(c["method"], c["status"], c["reason"]) for c in finished.runs]
    assert runs == [(name, "done", "") for name in STANDARD]
    records = pd.read_parquet(finished.folder / "run" / "records.parquet")
    assert tuple(records.columns) == COLUMNS
    assert set(records.schema_version) == {SCHEMA_VERSION}
    assert set(records.method) == {*STANDARD, "reference/all-background", "reference/image-label-only"}
    miou = records[(records.metric == "miou") & (records.variant != "curve")]
    rows = set(zip(miou.method, miou.stage, miou.variant))
    for name in STANDARD:
        assert (name, "segmentation", "") in rows
        if "masks" not in all_methods()[name].needs:
            assert {(name, "cam", v) for v in ("fixed", "tuned", "oracle")} <= rows
            assert (name, "pseudo_label", "") in rows
            accuracy = records[(records.method == name) & (records.metric == "mean_average_precision")]
            assert accuracy.value.between(0, 1).all()
            assert list(zip(accuracy.stage, accuracy.split, accuracy.images)) == [("classifier", "val", 12)]
        boundary = records[(records.method == name) & (records.metric == "boundary_f1")]
        labelled = {(s, v) for n, s, v in rows if n == name and v in ("fixed", "")}
        assert set(zip(boundary.stage, boundary.variant)) == labelled
    assert miou.value.between(0, 1).all()
    waits = records[records.metric == "wait_share"]
    assert set(waits.method) == set(STANDARD)
    assert waits.value.between(0, 1).all()
    confusion = records[records.metric == "confusion_ratio"]
    assert {"train|rails", "boat|water"} <= set(confusion.class_name)


def test_the_reports_are_there(finished):
    html = (finished.folder / "run" / "report.html").read_text()
    for name in STANDARD:
        assert all_methods()[name].title in html
    assert "\\toprule" in (finished.folder / "run" / "tables.tex").read_text()
    csv = pd.read_csv(finished.folder / "run" / "records.csv")
    assert len(csv) == len(pd.read_parquet(finished.folder / "run" / "records.parquet"))


def test_the_run_folder_holds_resamples_of_every_score_on_the_board(finished):
    from results.aggregate import SCORES, leaderboard
    from results.io import read_run
    from results.significance import significance

    done = read_run(finished.folder / "run")
    found = significance(done, leaderboard(done.records, done.runs)).standings
    total = found[(found["class_name"] == "") & found["low"].notna()]  # of one seed: an interval, no group
    for score in SCORES:
        scored = set(
            done.records[(done.records["stage"] == score.stage) & (done.records["seed"] == 0)]["method"]
        )
        standing = set(total[total["score"] == score.name]["method"])
        assert standing == scored
    inside = total["low"].le(total["mean"]) & total["mean"].le(total["high"])
    assert inside.all()


def test_settings_provenance_and_panels_are_kept_with_the_results(finished):
    for run in finished.runs:
        assert run["settings"]["dataset"]["train"] == 24
        assert run["provenance"]["packages"]["torch"]
        assert run["provenance"]["device"] == "cpu"
        assert all(len(sha) == 64 for sha in run["provenance"]["weights"].values())
        assert [panel["id"] for panel in run["panels"]] == [
            panel["id"] for panel in finished.runs[0]["panels"]
        ]
        sorts = {reason["sort"] for panel in run["panels"] for reason in panel["reasons"]}
        assert sorts == {"sample", "best", "worst", "disagreement"}
        predicted = 0
        for panel in run["panels"]:
            # of the training images, the evenly spaced ones are predicted; those chosen by their pseudo-labels are not
            evenly_spaced = any(reason["sort"] == "sample" for reason in panel["reasons"])
            expected = ["image", "truth"]
            if panel["split"] == "val" or evenly_spaced:
                expected.append("prediction")
                predicted += 1
            for picture in expected:
                assert (finished.folder / "run" / panel[picture]).is_file()
        assert predicted >= 6


def test_losses_and_details_of_the_stages_are_kept(finished):
    for run in finished.runs:
        trained = [stage for stage in run["stages"] if stage["losses"]]
        assert {stage["kind"] for stage in trained} <= {"weights"}
        assert trained
        for stage in trained:
            for history in stage["losses"]:
                assert history[-1]["iteration"] > 0
                assert len(history[-1]) > 1


def test_what_guided_training_chose_is_in_the_report(finished):
    """CA-CL's choice of prompts and its threshold, as the stage wrote them."""
    (run,) = (run for run in finished.runs if run["method"] == "ca_cl")
    (guide,) = (stage for stage in run["stages"] if stage["name"] == "guide")
    written = json.loads((finished.folder / "run" / guide["path"] / "guidance.json").read_text())
    assert guide["details"] == {"guidance.json": written}
    assert len(written["threshold"]) == len(written["selected"]) == 6
    assert sum(map(sum, written["prompt_choices"].values())) > 0
    html = (finished.folder / "run" / "report.html").read_text()
    assert "guide/guidance.json" in html
    assert all(prompt in html for prompt in written["prompts"])
    assert str(written["final_threshold"]) in html


def test_a_second_run_does_nothing(finished, command_line: CommandLine):
    first = {p: p.stat().st_mtime_ns for p in (finished.folder / "store").rglob("*") if p.is_file()}
    before = pd.read_parquet(finished.folder / "run" / "records.parquet")
    again = command_line(*finished.arguments)
    assert again.code == 0, again.out + again.err
    stages = [stage for run in finished.runs for stage in run["stages"]]
    assert stages
    assert all(stage["cached"] for stage in stages)
    assert {p: p.stat().st_mtime_ns for p in (finished.folder / "store").rglob("*") if p.is_file()} == first
    pd.testing.assert_frame_equal(pd.read_parquet(finished.folder / "run" / "records.parquet"), before)


def test_the_dry_run_finds_everything_stored(finished, command_line: CommandLine):
    done = command_line(*finished.arguments, "--dry-run")
    assert done.code == 0
    assert f"{len(STANDARD)} runs, 0 stages to do" in done.out


def test_report_writes_the_same_page_again(finished, command_line: CommandLine, tmp_path):
    done = command_line("report", str(finished.folder / "run"), "--output", str(tmp_path))
    assert done.code == 0
    assert (tmp_path / "report.html").read_text() == (finished.folder / "run" / "report.html").read_text()
    assert "all_methods" not in done.out
    for name in STANDARD:
        assert name in done.out or all_methods()[name].title in done.out


def test_doctor_finds_the_data_and_the_shipped_weights(finished, command_line: CommandLine):
    done = command_line("doctor", "--dataset", "shapes", *data(finished.folder / "data"))
    lines = [line.split() for line in done.out.splitlines()]
    assert ["ok", "train:", "24", "images,", "24", "with", "masks"] in lines
    assert any(words[:3] == ["ok", "nano:", "nano/resnet38d_nano"] for words in lines)
    assert done.code == 0, done.out


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Images to segment, in a folder and one below it, among them a truncated one and a file of text."""
    folder = tmp_path / "photographs"
    for index in range(3):
        write_image(folder / f"{index}.png", index, (40 + 8 * index, 32))
    write_image(folder / "deeper" / "3.jpg", 3, (40, 32))
    whole = (folder / "0.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_predict_segments_what_can_be_read(finished, command_line: CommandLine, photographs, tmp_path):
    output = tmp_path / "out"
    done = command_line(
        "predict", "--weights", str(finished.segment_artifact()), "--images", str(photographs),
        "--output", str(output), "--device", "cpu", "--recursive", "--write", "all",
    )  # fmt: skip
    assert done.code == 2
    assert f"{photographs / 'torn.png'}: cannot be decoded" in done.out
    assert done.err == f"error: 1 of 5 images could not be used (named above); the others are in {output}\n"
    classes = Shapes(ShapesConfig()).classes
    for name in ("0", "1", "2", "deeper/3"):
        suffix = ".jpg" if "/" in name else ".png"
        with Image.open(output / "labels" / f"{name}.png") as labels:
            assert labels.size == Image.open(photographs / f"{name}{suffix}").size
            assert np.asarray(labels).max() <= len(classes)
        assert (output / "overlays" / f"{name}.png").is_file()
    assert (output / "classes.txt").read_text().splitlines()[:2] == ["0 background", f"1 {classes[0]}"]
    (photographs / "torn.png").unlink()
    write_image(photographs / "0.jpg", 9)  # of the same name as 0.png
    done = command_line(
        "predict", "--weights", str(finished.segment_artifact()), "--images", str(photographs),
        "--output", str(output), "--recursive",
    )  # fmt: skip
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("5 images in")
    assert {"0.jpg.png", "0.png.png"} <= {p.name for p in (output / "labels").iterdir()}


def test_predict_with_the_network_of_a_single_stage_method(
    finished, command_line: CommandLine, photographs, tmp_path
):
    """Its decoder is no segmenter of the project's; the stage that predicted in the run does it again."""
    (photographs / "torn.png").unlink()
    done = command_line(
        "predict", "--run", str(finished.folder / "run"), "--method", "dskd_gc", "--seed", "0",
        "--images", str(photographs), "--output", str(tmp_path / "out"), "--device", "cpu", "--recursive",
    )  # fmt: skip
    assert done.code == 0, done.err
    for name in ("0", "1", "2", "deeper/3"):
        assert (tmp_path / "out" / "labels" / f"{name}.png").is_file()


def test_export_of_a_segmentation_network(finished, command_line: CommandLine, photographs, tmp_path):
    """For images of any size; the file is held against `predict` on images that are given."""
    (photographs / "torn.png").unlink()
    done = command_line(
        "export", "--weights", str(finished.segment_artifact()), "--to", "torch_export",
        "--images", str(photographs), "--output", str(tmp_path / "net.pt2"),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "images of any size" in done.out
    assert "pixels of 5 images" in done.out
    assert (tmp_path / "net.pt2").is_file()


def test_export_of_a_single_stage_network(finished, command_line: CommandLine, tmp_path):
    """A transformer, whose resizing depends on the image's size."""
    arguments = (
        "export", "--run", str(finished.folder / "run"), "--method", "dskd_gc", "--seed", "0",
        "--to", "torch_export", "--output", str(tmp_path / "net.pt2"),
    )  # fmt: skip
    done = command_line(*arguments, "--size", "44x60")
    assert done.code == 0, done.err
    assert "images of 44x60" in done.out
    (tmp_path / "net.pt2").unlink()
    done = command_line(*arguments)
    assert done.code == 2
    assert done.err.startswith(
        "error: this network cannot be traced for images of any size; give one with --size HEIGHTxWIDTH"
    )
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("net*"))


def test_predict_repeats_what_the_run_predicted(finished, command_line: CommandLine, tmp_path):
    """On the validation images themselves: the same label maps."""
    run = next(run for run in finished.runs if run["method"] == "cam")
    (predicted,) = [s for s in run["stages"] if s["kind"] == "prediction"]
    made = finished.folder / "run" / predicted["path"] / "labels"
    dataset = Shapes(ShapesConfig(root=str(finished.folder / "data"), train=24, val=12))
    images = tmp_path / "images"
    images.mkdir()
    for sample in dataset.samples("val")[:3]:
        (images / sample.image.name).write_bytes(sample.image.read_bytes())
    done = command_line(
        "predict", "--run", str(finished.folder / "run"), "--method", "cam", "--images", str(images),
        "--output", str(tmp_path / "out"), "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    for path in (tmp_path / "out" / "labels").iterdir():
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(made / path.name)))
