"""`tune` on methods that need no training: what is chosen, on which pictures, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.config import EvaluationConfig
from benchmark.evaluation.evaluator import held_out_ids
from benchmark.failures import ConfigError
from benchmark.tuning.pictures import pictures
from benchmark.tuning.trials import Scored, Trial
from datasets.base import TrainingView
from datasets.files.images import image_size
from datasets.shapes.dataset import ShapesConfig
from methods.artifacts import Cam, write_cams
from methods.base import Kind, MethodConfig, Shared, Stage
from results.csv_cells import read_csv
from tests.helpers.toys import Toy


@dataclass(frozen=True)
class Width:
    value: float


@dataclass(frozen=True)
class BumpConfig(MethodConfig):
    width: float = 0.1
    cut: float = 0.9
    other: float = 0.9


class Bump(Toy):
    """Its CAM is a bump in the middle; `cut` is its fixed threshold, and `other` only looks like it."""

    config = BumpConfig
    presets = {"nano": BumpConfig()}  # noqa: RUF012

    def stages(self, config: Any, view: TrainingView, shared: Shared) -> list[Stage]:
        return [Stage("cam", f"{__name__}:bump", Width(config.width), Kind.CAM, fixed_threshold=config.cut)]


def bump(context: Any, settings: Width) -> None:
    made.append(settings.value)
    for name, samples in context.shards(context.view.samples("train")):
        cams = {}
        for sample in samples:
            size = image_size(sample.image)
            rows, columns = (np.linspace(-0.5, 0.5, max(1, side // 8)) ** 2 for side in size)
            hill = np.exp(-(rows[:, None] + columns) / (2 * settings.value**2))
            cams[sample.id] = Cam(np.stack([hill] * len(sample.labels)), sample.labels, size)
            context.advance(1)
        write_cams(context.output / f"{name}.safetensors", cams)


made: list[float] = []
"""Widths of the CAMs that were computed."""


@pytest.fixture
def tune(command_line, third_party, tmp_path, monkeypatch):
    """`tune` of the toys, on ten pictures that are drawn in a folder of all tests."""
    monkeypatch.chdir(tmp_path)
    third_party(Bump("bump"), Toy("toy"))
    made.clear()
    data = ("dataset.train=10", "dataset.val=2", f"dataset.root={command_line.data}")
    place = ("--device", "cpu", "--output", str(tmp_path / "kept"), f"runtime.store={command_line.store}")

    def run(methods: str, *options: str) -> Any:
        return command_line("tune", methods, *options, *place, *data, "runtime.processes=1")

    return run


def kept(folder: Path, name: str) -> pd.DataFrame:
    numbers = ["mIoU %", "SD", "best threshold", "own threshold", "mIoU % at own"]
    return read_csv(folder / "kept" / f"{name}.csv", numbers)


WIDTHS = ("--over", "method.bump.width=[0.05,0.4]")
ON = ("--on", "dataset.seed=1")


def test_the_best_of_the_trials_is_said_as_overrides_and_all_are_kept(tune, tmp_path):
    done = tune("bump", "--trials", "3", *WIDTHS, *ON)
    assert done.code == 0, done.out + done.err
    table = kept(tmp_path, "bump-cam")
    assert list(table["trial"].astype(int).sort_values()) == [0, 1, 2]
    assert table["mIoU %"].is_monotonic_decreasing
    assert table.set_index("trial").loc["0", "settings"] == "preset"
    best = table.iloc[0]
    assert f"{best['settings']} method.bump.cut={best['best threshold']:g}\n" in done.out
    assert "other=" not in done.out
    text = (tmp_path / "kept" / "bump-cam.md").read_text()
    assert "tune bump --trials 3 --over 'method.bump.width=[0.05,0.4]' --on dataset.seed=1" in text
    assert "10 pictures of train with dataset.seed=1, run seeds 100." in text

    before, computed = kept(tmp_path, "bump-cam"), list(made)
    assert tune("bump", "--trials", "3", *WIDTHS, *ON).code == 0  # all is stored
    assert made == computed
    pd.testing.assert_frame_equal(kept(tmp_path, "bump-cam"), before)
    assert tune("bump", "--trials", "4", *WIDTHS, *ON).code == 0
    assert len(made) == len(computed) + 1


def test_each_method_has_its_own_ranges_and_label_maps_have_no_threshold(tune, tmp_path):
    done = tune(
        *(
            "toy",
            "--score",
            "pseudo_label",
            "--grid",
            "--over",
            "method.toy.value=1,2,3",
            *ON,
            "--seeds",
            "100,101",
        )
    )
    assert done.code == 0, done.out + done.err
    table = kept(tmp_path, "toy-pseudo_label")
    assert len(table) == 4
    assert table["best threshold"].isna().all()
    assert table.iloc[0]["settings"] == "preset"  # all background is the best of these
    assert done.out.rstrip().splitlines()[-2].strip() == "the preset"
    assert (table["SD"] == 0).all()


def test_thresholds_alone_are_chosen_from_the_presets_curve(tune, tmp_path):
    done = tune("bump", "--thresholds", *ON)
    assert done.code == 0, done.out + done.err
    assert made == [0.1]
    (row,) = kept(tmp_path, "bump-thresholds").to_dict("records")
    assert row["own threshold"] == 0.9
    assert row["mIoU %"] >= row["mIoU % at own"]
    assert f"method.bump.cut={row['best threshold']:g}\n" in done.out


def test_held_out_pictures_alone_choose(tune, tmp_path):
    """Another threshold is the best on all: what the others' masks say has no part in it."""
    assert tune("bump", "--thresholds", "--on", "held-out").code == 0
    of_part = kept(tmp_path, "bump-thresholds").to_dict("records")[0]
    assert made == [0.1]
    text = (tmp_path / "kept" / "bump-thresholds.md").read_text()
    assert "2 of the 10 pictures of train with masks, held out" in text
    assert tune("bump", "--thresholds", "--on", "held-out", "evaluation.held_out=0.9").code == 0
    assert kept(tmp_path, "bump-thresholds").to_dict("records")[0]["mIoU %"] != of_part["mIoU %"]


def test_a_leaderboard_says_which_fixed_thresholds_masks_chose(command_line, third_party, tmp_path):
    class Marked(Bump):
        folder = tmp_path
        title = "Marked"

    (tmp_path / "tuning.yaml").write_text('chosen_with_masks: {nano: {0.9: "by an oracle"}}\n')
    third_party(Marked("marked"), Bump("bump"))
    done = command_line.run("marked,bump")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "CAM (train): fixed: masks were used to choose its threshold 0.9: by an oracle [Marked]" in said


def test_a_trial_that_cannot_be_is_a_row_with_its_reason(tune, tmp_path):
    done = tune("toy", "--trials", "2", *ON, "--over", "method.toy.value=1,2")
    assert done.code == 1
    assert set(kept(tmp_path, "toy-cam")["reason"]) == {
        "seed 100 not run: method toy has no score cam; it has pseudo_label"
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([*WIDTHS, "--trials", "2"], "--on says which pictures"),
        ([*WIDTHS, "--trials", "2", "--on", "dataset.seed=0"], "10 of its pictures are scored"),
        ([*WIDTHS, "--trials", "2", "--on", "dataset.val=3"], "10 of its pictures are scored"),
        ([*WIDTHS, "--trials", "2", "--on", "seed=1"], "write dataset.KEY=VALUE"),
        ([*WIDTHS, "--trials", "2", "--on", "held-out", *ON], "give no other --on"),
        ([*WIDTHS, *ON], "--trials : give at least 2"),
        ([*WIDTHS, *ON, "--trials", "9" * 30], "give at most 10000"),
        ([*WIDTHS, *ON, "--trials", "2", "--seeds", "0,100"], "--seeds 0: seeds below 100"),
        ([*WIDTHS, *ON, "--trials", "2", "--grid"], "leave out --trials"),
        ([*ON, "--trials", "2"], "bump has no ranges to try"),
        ([*ON, "--trials", "2", "--thresholds"], "--thresholds tries presets alone"),
        ([*ON, "--trials", "2", "--over", "method.bump.wide=[0,1]"], "did you mean 'method.bump.width'"),
        ([*ON, "--trials", "2", "--over", "method.toy.value=1,2", *WIDTHS], "with one of bump"),
        ([*ON, "--trials", "2", "--score", "masks"], "unknown score 'masks'"),
        (
            [*WIDTHS, "--trials", "2", "--score", "segmentation", "--on", "held-out"],
            "segmentations are made on val",
        ),
    ],
)
def test_options_that_choose_nothing_honest_are_one_line(tune, options, said):
    done = tune("bump", *options)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert made == []


def test_what_learns_from_masks_is_not_tuned(tune):
    done = tune("supervised", "--thresholds", *ON)
    assert done.code == 2
    assert "supervised: learns from masks" in done.out
    assert "no method is left" in done.err


def test_a_part_of_the_scored_pictures_is_refused_under_any_setting(generated):
    """The same pictures in another number, or of val, are the leaderboard's as well."""
    root = str(generated)
    scored = ShapesConfig(root=root, train=10, val=2)
    for same in (ShapesConfig(root=root, train=4, val=2), ShapesConfig(root=root, train=10, val=2, subset=3)):
        with pytest.raises(ConfigError, match=r"of its pictures are scored on the leaderboard"):
            pictures(["dataset.train=4"], same, scored, 0.2)
    other = pictures(["dataset.seed=1"], ShapesConfig(root=root, train=10, val=2, seed=1), scored, 0.2)
    assert other.ids is None
    part = pictures(["held-out"], scored, scored, EvaluationConfig().held_out)
    assert part.ids == held_out_ids(part.dataset.ids("train"), 0.2)
    assert part.ids.isdisjoint(part.dataset.ids("val"))


def test_segmentations_choose_on_val_of_other_pictures(generated):
    root = str(generated)
    scored = ShapesConfig(root=root, train=10, val=2)
    other = pictures(["dataset.seed=1"], ShapesConfig(root=root, train=10, val=2, seed=1), scored, 0.2, "val")
    assert other.said == "2 pictures of val with dataset.seed=1"
    with pytest.raises(ConfigError, match=r"2 of its pictures are scored on the leaderboard"):
        pictures(["dataset.train=4"], ShapesConfig(root=root, train=4, val=2), scored, 0.2, "val")


def test_a_score_is_at_one_threshold_for_all_seeds():
    """The best of each seed alone would be .6 and .5."""
    trial = Trial("m", 1, ("a=1",), job=type("Job", (), {"seeds": (100, 101)})())  # type: ignore[arg-type]
    trial.scored[100] = Scored((0.6, 0.5, 0.1), (0.1, 0.2, 0.3), 0.3)
    assert not trial.is_whole
    assert np.isnan(trial.score)
    trial.scored[101] = Scored((0.1, 0.4, 0.5), (0.1, 0.2, 0.3), 0.3)
    assert trial.score == pytest.approx(0.45)
    assert trial.best_threshold == 0.2
    assert trial.by_seed == {100: 0.5, 101: 0.4}
    assert trial.at(trial.fixed_threshold) == pytest.approx(0.3)
    assert trial.deviation == pytest.approx(np.std([0.5, 0.4], ddof=1))
