"""Runs on data with good parts keep what verdicts are made of, and score them; other runs keep and score nothing more."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmark.evaluation.inspection.foreground import SCORES, TRAIN_SCORES
from benchmark.execution.foreground import MOST, calibration_view
from datasets.base import Sample, TrainingView
from methods.artifacts import read_image_scores
from methods.base import Stage
from results.io import read_run
from tests.helpers.painter import Painter
from tests.helpers.toys import CommandLine, Toy

CLASS = "scratch"


class BrightPainter(Painter):
    """Takes brightness for the probability of its colour."""

    def stages(self, config: Any, view: TrainingView, shared: Any) -> Sequence[Stage]:
        learn, paint = super().stages(config, view, shared)
        return [learn, replace(paint, run="tests.helpers.painter:paint_brightness")]


def part(path: Path, brightest: int, side: int = 3) -> None:
    """A dark picture with a square."""
    pixels = np.full((16, 24, 3), 20, np.uint8)
    pixels[4 : 4 + side, 5 : 5 + side] = brightest
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Defects of falling brightness; of the good parts one shines as the weakest defect of its split does not."""
    root = tmp_path / "parts"
    for split in ("train", "val"):
        for number, bright in enumerate((240, 200, 160, 80)):
            part(root / split / CLASS / f"{number}.png", bright)
            mask = np.zeros((16, 24), np.uint8)
            mask[4:7, 5:8] = 255
            (root / "masks" / split / CLASS).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / "masks" / split / CLASS / f"{number}.png")
        for number, bright in enumerate((100, 40, 40, 40) if split == "val" else (60, 40, 40, 40)):
            part(root / split / "good" / f"{number}.png", bright)
    return root


def metrics(command_line: CommandLine) -> dict[tuple[str, str], float]:
    records = read_run(command_line.output).records
    found = records[records["stage"] == "segmentation"]
    return {(r.metric, r.class_name): r.value for r in found.itertuples()}


def test_verdicts_of_a_run(command_line: CommandLine, third_party: Any, parts: Path) -> None:
    third_party(BrightPainter("painter"))
    data = ("--dataset", "folder", f"dataset.root={parts}")
    done = command_line.run_on("painter", *data)
    assert done.code == 0, done.err
    found = metrics(command_line)
    assert found["image_auroc", "max"] == pytest.approx(15 / 16)
    assert found["escapes_at_overkill", "max|0.05"] == found["overkill_at_escapes", "max|0.05"] == 1 / 4
    assert found["escapes", ""] == found["escapes", CLASS] == 1 / 4  # of less than half of white
    assert found["overkill", ""] == 0
    assert found["defects_found", ""] == 3 / 4
    assert (
        found["escapes_calibrated", "max"] == 0
    )  # 80 is the highest threshold that no good one of train reaches
    assert found["overkill_calibrated", "max"] == 1 / 4
    assert found["verdicts", "OK|OK"] == 1
    assert 0 < found["aupro", ""] < 1
    assert found["area_bias", ""] == pytest.approx(-1 / 4)

    (artifact,) = command_line.store.glob("artifacts/paint/*")
    kept = read_image_scores(artifact / SCORES)
    assert len(read_image_scores(artifact / TRAIN_SCORES)) == 8
    page = (command_line.output / "report.html").read_text()
    assert "Good or not" in page
    assert "Escapes at 5 % overkill" in page
    exported = pd.read_csv(command_line.output / "tables" / "inspection.csv", keep_default_na=False)
    assert {"aupro", "image_auroc", "verdicts"} <= set(exported["metric"])
    assert "Escapes" in done.out

    out = command_line.folder / "out"
    source = parts / "val" / CLASS
    done = command_line(
        *("predict", "--run", str(command_line.output), "--images", str(source), "--output", str(out)),
        *("--device", "cpu"),
    )
    assert done.code == 0, done.err
    with (out / "verdicts.csv").open(newline="") as file:
        said = {Path(row["file"]).stem: float(row["score"]) for row in csv.DictReader(file)}
    own = {Path(i).stem: float(scores[0]) for i, scores in kept.items() if f"val/{CLASS}" in i}
    assert len(own) == 4
    assert said == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize("chosen", ["never", "auto"])
def test_other_runs_keep_and_score_nothing_of_it(
    command_line: CommandLine, third_party: Any, parts: Path, chosen: str
) -> None:
    third_party(BrightPainter("painter"))
    asked = f"evaluation.inspection={chosen}"
    if chosen == "auto":  # shapes: no good parts
        done = command_line.run("painter", asked)
    else:
        done = command_line.run_on("painter", "--dataset", "folder", f"dataset.root={parts}", asked)
    assert done.code == 0, done.err
    assert not {"aupro", "escapes", "image_auroc", "defects_found"} & {
        name for name, _ in metrics(command_line)
    }
    (artifact,) = command_line.store.glob("artifacts/paint/*")
    assert not (artifact / "foreground").exists()
    assert "Good or not" not in (command_line.output / "report.html").read_text()


def test_folders_without_masks_have_verdicts(
    command_line: CommandLine, third_party: Any, parts: Path
) -> None:
    shutil.rmtree(parts / "masks")
    third_party(BrightPainter("painter"))
    done = command_line.run_on("painter", "--dataset", "folder", f"dataset.root={parts}")
    assert done.code == 0, done.err
    found = metrics(command_line)
    assert found["escapes", ""] == 1 / 4
    assert found["image_auroc", "max"] == pytest.approx(15 / 16)
    assert not {"miou", "defects_found", "aupro"} & {name for name, _ in found}
    assert "verdicts on images alone are scored" in " ".join(done.out.split())
    again = command_line.run_on("painter", "--dataset", "folder", f"dataset.root={parts}")
    assert again.code == 0, again.err
    assert metrics(command_line) == found


def test_pseudo_labels_have_no_verdicts(command_line: CommandLine, third_party: Any, parts: Path) -> None:
    third_party(Toy("toy"))
    done = command_line.run_on("toy", "--dataset", "folder", f"dataset.root={parts}")
    assert done.code == 0, done.err
    found = set(read_run(command_line.output).records["metric"])
    assert found >= {"defects_found", "area_error"}
    assert not found & {"escapes", "verdicts", "alarms_per_good_part"}


def test_thresholds_are_set_by_good_images_and_as_many_others() -> None:
    train = [Sample(str(n), Path(f"{n}.png"), (0,) if n % 4 else ()) for n in range(2000)]
    chosen = calibration_view(TrainingView("x", ("a",), {"train": tuple(train), "val": ()}))
    kept = chosen.samples("val")
    assert not chosen.samples("train")
    assert len(kept) == len({s.id for s in kept}) == 2 * MOST
    assert sum(not s.labels for s in kept) == MOST
    few = calibration_view(TrainingView("x", ("a",), {"train": tuple(train[:6]), "val": ()}))
    assert sorted(s.id for s in few.samples("val")) == list("012345")
