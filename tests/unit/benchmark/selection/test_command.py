"""`select` and `calibrate` on small runs: without masks on the disk, and what is wrong is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmark.selection.spread import RATIOS
from results.io import read_run
from tests.helpers.tiny import sizes
from tests.helpers.toys import CommandLine

METHODS = ["cam", "eps", "seam"]


@pytest.fixture
def finished(command_line: CommandLine, tmp_path: Path) -> CommandLine:
    """A run of three methods, on pictures of its own."""
    data = (f"dataset.root={tmp_path / 'pictures'}", "dataset.train=8", "dataset.val=4")
    done = command_line.run_on(",".join(METHODS), *data, *sizes(METHODS))
    assert done.code == 0, done.err
    return command_line


def test_a_run_is_chosen_from_without_masks_and_calibrates_another(finished: CommandLine) -> None:
    calibration = finished.folder / "calibration.json"
    few = ("--images", "4", "--device", "cpu")
    fitted = finished("calibrate", finished.output, "--output", calibration, *few)
    assert fitted.code == 0, fitted.err
    assert "each predicted without its method" in fitted.out
    written = json.loads(calibration.read_text())
    (source,) = written["sources"]
    assert set(written["spread"]) == set(RATIOS)
    assert all(ratio > 0 for ratio in written["spread"].values())
    assert source["methods"] == METHODS
    (evidence,) = (finished.output / "selection").glob("evidence-*.parquet")
    table = pd.read_parquet(evidence)
    assert set(table["kind"]) == {"cam", "pseudo_label", "prediction"}
    assert table.loc[table["class"] >= 0, ["kept", "lost"]].stack().dropna().between(0, 1).all()
    assert table["kept"].notna().any()
    evidence.unlink()

    masks = [path for path in (finished.folder / "pictures").rglob("masks") if path.is_dir()]
    assert masks
    for folder in masks:
        shutil.rmtree(folder)
        folder.mkdir()
    chosen = finished("select", finished.output, "--calibration", calibration, *few)
    assert chosen.code == 0, chosen.err
    assert pd.read_parquet(evidence).equals(table)
    assert "calibrated on one data set" in chosen.out
    rows = pd.read_csv(finished.output / "selection" / "selection.csv")
    assert sorted(rows.loc[rows["kind"] == "cam", "rank"]) == [1, 2, 3]
    assert rows["predicted"].between(rows["low"], rows["high"]).all()
    document = json.loads((finished.output / "selection" / "selection.json").read_text())
    assert len(document["choices"]) == len(rows) == 9
    assert read_run(finished.output).runs  # the run's own files are as they were


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "not a run folder"),
        (("nowhere", "--images", "-1"), "--images -1: must be 0, for all, or more"),
        (("nowhere", "--calibration", "none.json"), "--calibration none.json: no such file"),
        (("nowhere", "--device", "abacus"), "unknown device"),
    ],
)
def test_faults_are_one_line(command_line: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    done = command_line("select", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
