"""Experiments through the real command line: rows beside the paper's numbers, their settings, what fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import benchmark.execution.runner
from benchmark.experiments.rows import find_experiments, make_tables
from benchmark.experiments.table import Options
from benchmark.failures import ConfigError
from benchmark.planning.plan import Job
from methods.experiment import Experiment, ExperimentRow
from results.schema import COLUMNS
from tests.helpers.toy_experiment import arguments, table, toy
from tests.helpers.toys import CommandLine, Outcome, Toy, not_runnable, registered


@pytest.fixture(scope="module")
def filled(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CommandLine, Outcome]:
    """A run of the experiment that tests only read, and what it said."""
    command_line = CommandLine(tmp_path_factory.mktemp("filled"), generated)
    with registered(toy(), Toy("other")):
        done = command_line(*arguments(command_line), "method.toy.note=kept")
    assert done.code == 0, done.err
    return command_line, done


def test_every_row_stands_beside_the_papers_number(filled: tuple[CommandLine, Outcome]) -> None:
    command_line, done = filled
    lines = {
        line.split("  ")[1].strip(): line.split()
        for line in done.out.splitlines()
        if line.startswith("  ") and ("–" in line or "±" in line)
    }
    assert lines["background"][1] == "84.29"
    assert lines["class 1"][2] == "–"
    rows = table(command_line)
    assert rows["background"]["seeds"] == "2"
    assert rows["background"]["mean"] == rows["the other entry"]["mean"] != rows["class 1"]["mean"]
    assert float(rows["background"]["deviation"]) == 0.0
    assert rows["background"]["paper"] == "84.29"


def test_rows_that_cannot_be_had_are_listed_with_their_reason(filled: tuple[CommandLine, Outcome]) -> None:
    command_line, done = filled
    assert "with maps: not available: needs maps of old" in done.out
    assert "on GPUs: not available: needs scale paper" in done.out
    rows = table(command_line)
    assert (rows["with maps"]["seeds"], rows["with maps"]["reason"]) == ("0", "needs maps of old")
    assert rows["with maps"]["mean"] == ""


def test_plan_and_progress_name_the_rows(
    filled: tuple[CommandLine, Outcome], command_line: CommandLine, third_party
) -> None:
    """Runs of one method and seed would be told apart by nothing else."""
    third_party(toy(), Toy("other"))
    planned = command_line(*arguments(command_line), "--dry-run")
    assert planned.code == 0, planned.err
    assert "shapes · toy · fill: background · seed 1" in planned.out
    assert "shapes · other · toy/fill: the other entry · seed 0" in planned.out
    assert "toy · fill: class 1 · seed 0 · labels" in filled[1].out


def test_fewer_seeds_than_the_table_had_are_said(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    assert "was of" not in command_line(*arguments(command_line)).out
    one = [*arguments(command_line), "--seeds", "0"]
    said = "The table of toy/fill was of 2 seeds and is of 1 now"
    assert said in command_line(*one).out.replace("\n", " ")
    assert {row["seeds"] for row in table(command_line).values()} == {"0", "1"}
    assert "was of" not in command_line(*arguments(command_line)).out
    assert {row["seeds"] for row in table(command_line).values()} == {"0", "2"}


def test_an_interrupt_leaves_the_summary_of_the_tables_so_far(
    command_line: CommandLine, third_party, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = toy()
    rows = method.experiments[0].rows
    method.experiments = (  # type: ignore[misc]
        *method.experiments,
        Experiment("last", "Never run", ("pseudo-label",), rows),
    )
    third_party(method, Toy("other"))
    execute = benchmark.execution.runner.execute

    def interrupted(jobs: Sequence[Job], *arguments: Any) -> Any:
        if "last" in jobs[0].label:
            raise KeyboardInterrupt
        return execute(jobs, *arguments)

    monkeypatch.setattr(benchmark.execution.runner, "execute", interrupted)
    assert command_line(*arguments(command_line, "toy/fill,toy/last")).code == 130
    summary = (command_line.output / "experiments" / "summary.md").read_text()
    assert "toy/fill" in summary
    assert "toy/last" not in summary


def test_a_column_may_be_of_another_metric_or_of_a_class(command_line: CommandLine, third_party) -> None:
    method, scores = toy(), ("pseudo_label", "pseudo_label:pixel_accuracy", "pseudo_label:iou:backg*")
    rows = (ExperimentRow("background", "sam_fused/Tab. 3/ViT + SAM", scores, ("value=0",)),)
    method.experiments = (Experiment("fill", "Three", ("mIoU", "ACC", "IoU"), rows),)  # type: ignore[misc]
    third_party(method, Toy("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    assert "IoU, mIoU, pixel accuracy in %" in done.out
    found = table(command_line, "column")
    assert found["ACC"]["paper"] == "88.11"
    assert float(found["ACC"]["mean"]) == float(found["IoU"]["mean"]) > float(found["mIoU"]["mean"]) > 0


def test_all_records_of_the_rows_lie_beside_the_table(filled: tuple[CommandLine, Outcome]) -> None:
    (path,) = (filled[0].output / "experiments" / "records").glob("toy-fill*.csv")
    records = pd.read_csv(path)
    assert list(records.columns) == ["row", *COLUMNS]
    assert set(records["row"]) == {"background", "class 1", "the other entry"}
    own = records[(records["row"] == "class 1") & (records["seed"] == 1)]
    by_class = own[own["metric"] == "iou"].set_index("class_name")["value"]
    assert len(by_class) > 2
    (mean,) = own.loc[own["metric"] == "miou", "value"]
    assert by_class.mean() == pytest.approx(mean)
    assert set(own.loc[own["metric"] == "seconds", "stage"]) == {"labels", "score-labels"}


def test_what_fails_is_named_and_the_others_are_there(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other", "tests.helpers.toys:explode"))
    done = command_line(*arguments(command_line))
    assert done.code == 1
    assert (
        "failed: toy/fill: the other entry: seed 0 failed: stage labels: ValueError: a wire has come loose"
        in done.out
    )
    assert table(command_line)["background"]["seeds"] == "2"


def test_what_is_not_run_is_no_failure(command_line: CommandLine, third_party) -> None:
    third_party(toy(), not_runnable("other"))
    done = command_line(*arguments(command_line))
    assert done.code == 0, done.err
    assert "the other entry: seed 0 not run: needs text embeddings" in done.out


def test_unknown_experiments_name_what_there_is(third_party) -> None:
    third_party(toy())
    with pytest.raises(ConfigError, match=r"unknown experiment 'toy/fil'; did you mean 'toy/fill'\?"):
        find_experiments("toy/fil")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.toy.noet=x", "there is no setting 'method.toy.noet'; did you mean 'method.toy.note'?"),
        ("method.tyo.note=x", "method 'tyo' is not part of this run; did you mean 'toy'? it has toy, other"),
        ("method.cam.background_threshold=0.2", "method 'cam' is not part of this run; it has toy, other"),
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


def test_what_every_row_sets_itself_cannot_be_given(third_party) -> None:
    method = toy()
    method.experiments = (  # type: ignore[misc]
        Experiment("fill", "One", ("a",), (ExperimentRow("a", "", ("pseudo_label",), ("value=0",)),)),
    )
    third_party(method)
    options = Options("shapes", "nano", "paper", [0], ["method.toy.value=2"])
    with pytest.raises(ConfigError, match=r"'method\.toy\.value': every row of toy/fill sets it itself"):
        make_tables(find_experiments("toy/fill"), options)


def test_an_override_for_another_entrys_row_reaches_it_alone(command_line: CommandLine, third_party) -> None:
    third_party(toy(), Toy("other"))
    assert command_line(*arguments(command_line), "method.other.value=1").code == 0
    rows = {label: row["mean"] for label, row in table(command_line).items()}
    assert rows["the other entry"] == rows["class 1"] != rows["background"]
