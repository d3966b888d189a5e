"""What of an experiment reproduces: the scores that are compared, verdicts, claims and diagnoses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from benchmark.config import compose
from benchmark.experiments.diagnoses import diagnosis_of, read_diagnoses
from benchmark.experiments.measured import Column, measure, scored
from benchmark.experiments.rows import find_experiments
from benchmark.experiments.run import explained
from benchmark.experiments.summary import write_summary
from benchmark.experiments.table import Table
from benchmark.failures import ConfigError
from methods.experiment import Claim, Experiment, ExperimentRow
from methods.registry import find_method
from results.directions import NOT_RUN, Direction, read_directions, write_directions
from tests.helpers.toy_experiment import arguments, table, toy
from tests.helpers.toys import CommandLine, Toy


def test_the_summary_says_what_reproduces(command_line: CommandLine, third_party) -> None:
    """Background everywhere beats a class everywhere, as 84.29 against 66.5 has it; what did not run is said."""
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), "method.other.value=1")
    assert done.code == 0, done.err
    found = read_directions(command_line.output / "experiments").set_index("row")
    assert found.loc["the other entry", ["better", "verdict", "n"]].tolist() == [
        "background",
        "reproduced",
        2,
    ]
    assert found.loc["the other entry", "low"] > 0
    assert found.loc["with maps", ["verdict", "reason"]].tolist() == ["not run", "needs maps of old"]
    assert "What reproduces" in done.out
    for suffix in ("html", "md", "csv"):
        text = (command_line.output / "experiments" / f"summary.{suffix}").read_text()
        assert "needs maps of old" in text
        assert "reproduced" in text
    again = command_line(*arguments(command_line), "method.other.value=1")
    assert again.code == 0
    assert "labels: " not in again.out  # everything is stored


def test_what_is_run_with_other_settings_stands_beside_the_rest(
    command_line: CommandLine, third_party
) -> None:
    """Verdicts and tables of shortened runs do not take the place of those of the settings proper."""
    third_party(toy(), Toy("other"))
    for setting in ("method.other.value=0", "method.other.value=1", "method.toy.value=1"):
        assert command_line(*arguments(command_line), setting).code == 0
    folder = command_line.output / "experiments"
    found = read_directions(folder)
    data = "dataset.train=6; dataset.val=2"
    own = found[found["row"] == "the other entry"].set_index("conditions")["verdict"]
    assert own.to_dict() == {
        data: "smaller than half",
        "dataset.train=6; dataset.val=2; method.other.value=1": "reproduced",
    }  # a default is no change, and where rows set it themselves it is none either
    assert len(list(folder.glob("toy-fill*.csv"))) == 2
    text = (folder / "summary.md").read_text()
    assert "toy/fill (shapes-nano, dataset.train=6; dataset.val=2; method.other.value=1)" in text
    conditions = {pd.read_csv(path)["conditions"][0] for path in folder.glob("toy-fill*.csv")}
    assert any(text.endswith("; changed: dataset.train=6; dataset.val=2") for text in conditions)


def test_claims_of_rows_and_columns_are_tested(command_line: CommandLine, third_party) -> None:
    method, scores = toy(), ("pseudo_label", "pseudo_label:pixel_accuracy")
    rows = (
        ExperimentRow("background", "", scores, ("value=0",)),
        ExperimentRow("class 1", "", scores, ("value=1",)),
        ExperimentRow("with maps", "", scores, unavailable="needs maps of old"),
    )
    said = (
        Claim("background", "class 1", "ACC", "Fig. 1"),
        Claim("background", "with maps", "ACC", "Fig. 1"),
        Claim("background", "background", "ACC", "Fig. 2", than_column="mIoU"),
    )
    method.experiments = (Experiment("fill", "Two", ("mIoU", "ACC"), rows, claims=said),)  # type: ignore[misc]
    third_party(method)
    assert [e.name for _, e in find_experiments("all") if e.title == "Two"] == ["fill"]
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    found = read_directions(command_line.output / "experiments").set_index("row")
    assert found["verdict"].to_dict() == {
        "class 1": "reproduced",
        "with maps": "not run",
        "background, mIoU": "reproduced",
    }
    assert found["reason"].to_dict() == {
        "class 1": "claimed in Fig. 1",
        "with maps": "claimed in Fig. 1; needs maps of old",
        "background, mIoU": "claimed in Fig. 2",
    }
    assert found["paper"].isna().all()
    assert found.loc["class 1", "low"] < found.loc["class 1", "high"]  # accuracy is bootstrapped


def test_what_is_of_other_images_is_shown_and_not_judged(command_line: CommandLine, third_party) -> None:
    method = toy()
    (whole,) = method.experiments
    method.experiments = (replace(whole, unjudged=("pseudo-label",)),)  # type: ignore[misc]
    third_party(method, Toy("other"))
    done = command_line(*arguments(command_line), "method.other.value=1")
    assert done.code == 0, done.err
    assert table(command_line)["background"]["paper"] == "84.29"
    assert read_directions(command_line.output / "experiments").empty


def run(rows: Sequence[dict[str, Any]], stages: Sequence[dict[str, Any]] = ()) -> Any:
    """A finished run: what `measure` and `scored` read of it."""
    scores = [(SimpleNamespace(key="k"), list(rows))]
    made = SimpleNamespace(seed=0, config=compose(["cam"]), method=find_method("cam"))
    return SimpleNamespace(run=made, scores=scores, stages=list(stages))


def test_a_cams_confusion_is_of_its_fixed_threshold_and_its_miou_of_the_oracle(tmp_path: Path) -> None:
    """As the evaluation scores CAMs: confusion ratios at the fixed threshold alone, mIoU by every rule."""

    def found(metric: str, variant: str, value: float, name: str = "") -> dict[str, Any]:
        return {
            "stage": "cam", "metric": metric, "variant": variant, "class_name": name, "value": value
        }  # fmt: skip

    own = run(
        [found("miou", "fixed", 0.4), found("miou", "tuned", 0.45), found("miou", "oracle", 0.5),
         found("confusion_ratio", "fixed", 0.75, "train|rails")]
    )  # fmt: skip
    row = ExperimentRow("a", "", ("cam", "cam:confusion_ratio:train|rail*"))
    for score, variant, value in zip(row.scores, ("oracle", "fixed"), (50, 75), strict=True):
        column = Column("it", (score,))
        (compared,) = (m for m in measure(row, column, score, [own]) if m.is_compared)
        assert (compared.variant, compared.values) == (variant, (value,))
        sampled = scored(row, score, [own], tmp_path, "").sampled
        assert sampled is not None
        assert sampled.values[0].tolist() == [value]


def test_hours_of_a_stage_stand_beside_the_papers_and_are_not_judged() -> None:
    row = ExperimentRow("m = 1", "ca_cl/Tab. 7/m = 1", ("cam", "guide:hours"))
    column = Column("training (h)", ("guide:hours",))
    times = [
        {"name": "guide", "key": "k", "seconds": 5400.0, "resumed": resumed} for resumed in (False, True)
    ]
    (whole,) = measure(row, column, "guide:hours", [run([], times[:1])])
    assert (whole.reported, whole.values, whole.is_compared) == (1.7, (1.5,), True)
    (resumed,) = measure(row, column, "guide:hours", [run([], times[1:])])
    assert resumed.values == ()
    assert not column.is_judged
    assert Column("CAM", ("cam",)).is_judged


def test_a_diagnosis_is_of_a_row_that_does_not_reproduce_where_it_was_found() -> None:
    place, text = ("shapes-nano", "fill"), "the toy is too simple"
    known = {(*place, "the other entry", ""): text, (*place, "with maps", ""): text}
    run = Direction("toy/fill", "pseudo-label", "background", "the other entry", 17.8, 0, 0.1, 0.1, 2)
    found = [run, replace(run, row="with maps", verdict=NOT_RUN)]
    method = toy()

    def texts(place: str, conditions: str = "") -> list[str]:
        table = Table(method, method.experiments[0], (), place, conditions)
        return [each.diagnosis for each in explained(table, found, known)]

    assert texts("shapes-nano") == [text, ""]
    assert texts("bluefilm-nano") == ["", ""]
    assert texts("shapes-nano", "dataset.train=6") == ["", ""]


def test_what_has_no_diagnosis_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = "shapes-nano"
    refuted = Direction("toy/fill", "CAM", "background", "other", 17.8, 0, 0.1, 0.1, 2, place=place)
    write_directions(tmp_path / "experiments", "toy-fill", [refuted])
    write_summary(tmp_path, ["toy/fill"])
    assert (
        "1 smaller than half or reversed without a diagnosis: write them into diagnoses.yaml"
        in capsys.readouterr().out
    )
    assert "no diagnosis yet" in (tmp_path / "experiments" / "summary.md").read_text()
    write_directions(tmp_path / "experiments", "toy-fill", [replace(refuted, conditions="a=1")])
    write_summary(tmp_path, ["toy/fill"])
    assert "without a diagnosis" not in capsys.readouterr().out


TWO = {"fill": Experiment("fill", "", ("CAM", "ACC"), (ExperimentRow("class 1"),))}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1", "not YAML"),
        ("- a", "should map <data set>-<scale> to experiments"),
        ("shapes-nano: text", "should map <data set>-<scale> to experiments"),
        ("shape-nano: {fill: {class 1: b}}", "no data set and scale 'shape-nano'; there are .*shapes-nano"),
        ("shapes-nano: {fil: {a: b}}", "no experiment 'fil'; there are fill"),
        ("shapes-nano: {fill: text}", "fill: should map rows to text"),
        ("shapes-nano: {fill: {lcass 1: b}}", "fill has no row 'lcass 1'; there are class 1"),
        ("shapes-nano: {fill: {class 1: ''}}", "fill, row 'class 1': should be text"),
        ("shapes-nano: {fill: {class 1: [a]}}", "fill, row 'class 1': should be text"),
        ("shapes-nano: {fill: {class 1: {CMA: a}}}", "fill has no column 'CMA'; there are CAM, ACC"),
        ("shapes-nano: {fill: {class 1: {CAM: 1}}}", "fill, row 'class 1', column 'CAM': should be text"),
    ],
)
def test_a_wrong_diagnosis_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "diagnoses.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_diagnoses(path, TWO)
    assert str(path) in str(caught.value)


def test_diagnoses_are_of_rows_or_of_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "diagnoses.yaml"
    path.write_text("shapes-nano:\n  fill:\n    class 1: |\n      two\n      lines\n")
    found = read_diagnoses(path, TWO)
    assert diagnosis_of(found, "shapes-nano", "fill", "class 1", "ACC") == "two lines"
    path.write_text("shapes-nano:\n  fill:\n    class 1:\n      ACC: of this alone\n")
    found = read_diagnoses(path, TWO)
    assert [diagnosis_of(found, "shapes-nano", "fill", "class 1", c) for c in ("CAM", "ACC")] == [
        "",
        "of this alone",
    ]
