"""Named ablations: rows of settings run through the real command line, beside the paper's numbers."""

from __future__ import annotations

import csv

import pytest

from benchmark import experiments
from benchmark.config import ConfigError
from methods.base import Experiment, ExperimentRow, Kind
from methods.registry import all_methods
from results.reported import find_reported, reported_of
from tests.toys import CommandLine, Toy, command_line, not_runnable, third_party

__all__ = ["command_line", "third_party"]  # fixtures


def toy() -> Toy:
    method = Toy("toy")
    method.experiments = (  # type: ignore[misc]
        Experiment(
            "fill",
            "What every pixel is given",
            ("pseudo-label",),
            (
                ExperimentRow("background", "sam_fused/Tab. 3/ViT + SAM", ("pseudo_label",), ("value=0",)),
                ExperimentRow("class 1", "", ("pseudo_label",), ("value=1",)),
                ExperimentRow("the other entry", "eps/Tab. 3/naive", ("pseudo_label",), method="other"),
            ),
            until=Kind.PSEUDO_LABEL,
        ),
    )
    return method


def arguments(command: CommandLine) -> tuple[str, ...]:
    data = ("dataset.train=6", "dataset.val=2", f"dataset.root={command.folder / 'data'}")
    return ("experiment", "toy/fill", "--device", "cpu", "--seeds", "0,1", "--output", str(command.output),
            f"runtime.store={command.store}", *data)  # fmt: skip


def test_every_row_stands_beside_the_papers_number(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), "method.toy.note=kept")
    assert done.code == 0, done.err
    lines = {
        line.split("  ")[1].strip(): line.split()
        for line in done.out.splitlines()
        if "–" in line or "±" in line
    }
    assert lines["background"][1] == "84.29"
    assert lines["class 1"][2] == "–"
    with (command_line.output / "toy-fill.csv").open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert rows["background"]["seeds"] == "2"
    assert rows["background"]["mean"] == rows["the other entry"]["mean"] != rows["class 1"]["mean"]
    assert float(rows["background"]["deviation"]) == 0.0
    html = (command_line.output / "toy-fill.html").read_text()
    assert "What every pixel is given" in html
    assert "84.29" in html


def test_a_column_may_be_of_another_metric(command_line: CommandLine, third_party) -> None:
    method, scores = toy(), ("pseudo_label", "pseudo_label:pixel_accuracy")
    rows = (ExperimentRow("background", "sam_fused/Tab. 3/ViT + SAM", scores, ("value=0",)),)
    method.experiments = (Experiment("fill", "Two", ("mIoU", "ACC"), rows, Kind.PSEUDO_LABEL),)  # type: ignore[misc]
    third_party(method, Toy("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    assert "mIoU, pixel accuracy in %" in done.out
    with (command_line.output / "toy-fill.csv").open() as file:
        found = {row["column"]: row for row in csv.DictReader(file)}
    assert found["ACC"]["paper"] == "88.11"
    assert float(found["ACC"]["mean"]) > float(found["mIoU"]["mean"]) > 0


def test_a_row_that_fails_is_named_and_the_others_are_there(command_line: CommandLine, third_party) -> None:
    third_party(toy(), not_runnable("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 1
    assert "failed: the other entry: seed 0 not run: needs text embeddings" in done.out
    assert (command_line.output / "toy-fill.csv").is_file()


def test_unknown_experiments_name_what_there_is(third_party) -> None:
    third_party(toy())
    with pytest.raises(ConfigError, match=r"unknown experiment 'toy/fil'; did you mean 'toy/fill'\?"):
        experiments.find_experiment("toy/fil")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.toy.noet=x", "there is no setting 'method.toy.noet'; did you mean 'method.toy.note'?"),
        ("method.tyo.note=x", "method 'tyo' is not part of this run; did you mean 'toy'? it has toy, other"),
        ("method.cam.background_threshold=0.2", "method 'cam' is not part of this run; it has toy, other"),
        ("method.toy.value=2", "setting 'method.toy.value': every row of toy/fill sets it itself"),
    ],
)
def test_an_override_that_no_row_takes_is_refused_before_anything_runs(
    command_line: CommandLine, third_party, override: str, words: str
) -> None:
    third_party(toy(), Toy("other"))
    done = command_line(*arguments(command_line), override)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not command_line.store.exists()


def test_an_override_for_another_entrys_row_reaches_it_alone(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    assert command_line(*arguments(command_line), "method.other.value=1").code == 0
    with (command_line.output / "toy-fill.csv").open() as file:
        rows = {row["row"]: row["mean"] for row in csv.DictReader(file)}
    assert rows["the other entry"] == rows["class 1"] != rows["background"]


def test_experiments_of_all_methods_are_consistent() -> None:
    for method in all_methods().values():
        names = [e.name for e in method.experiments]
        assert len(set(names)) == len(names)
        for experiment in method.experiments:
            labels = [row.label for row in experiment.rows]
            assert len(set(labels)) == len(labels)
            for row in experiment.rows:
                assert len(row.scores) == len(experiment.columns)
                if row.reported:  # the row is there, and one of its numbers is of this table
                    assert any(find_reported(row.reported, score) for score in row.scores)
                if row.method is not None:
                    assert row.method in all_methods()


def test_what_methods_are_called_in_the_papers_is_in_the_tables() -> None:
    for method in all_methods().values():
        assert not method.reported_as or reported_of(method.reported_as), method.name
