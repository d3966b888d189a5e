"""The runner: one method's failure is its row; a full disk, Ctrl-C and a second run lose nothing."""

from __future__ import annotations

import errno
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmark import console
from datasets.files import images
from methods.base import MethodError
from results.io import read_run
from tests.helpers.toys import CommandLine, Toy, not_runnable


def statuses(folder: Path) -> dict[str, tuple[str, str]]:
    return {run["method"]: (run["status"], run["reason"]) for run in read_run(folder).runs}


def test_a_method_that_raises_is_a_row_while_the_others_run(command_line, third_party):
    third_party(Toy("broken", "tests.helpers.toys:explode"), Toy("sound"))
    done = command_line.run("broken,sound")
    assert done.code == 1
    reason = "stage labels: ValueError: a wire has come loose (toys.py:"
    status, said = statuses(command_line.output)["broken"]
    assert status == "failed"
    assert said.startswith(reason)
    assert statuses(command_line.output)["sound"] == ("done", "")
    assert f"failed: broken seed 0: {reason}" in done.out
    assert "Traceback" not in done.out + done.err
    records = read_run(command_line.output).records
    scored = records[(records.method == "sound") & (records.metric == "miou")]
    assert list(scored.stage) == ["pseudo_label"]


def call_a_library(context, settings):
    """A stage that fails inside a library."""
    json.loads("{")  # here


def test_a_failure_names_the_authors_line_and_leaves_its_traceback(command_line, third_party):
    third_party(Toy("broken", f"{__name__}:call_a_library"))
    done = command_line.run("broken")
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "# here" in text)
    said = statuses(command_line.output)["broken"][1]
    assert said.startswith("stage labels: JSONDecodeError: ")
    assert said.endswith(f"(test_runner.py:{line}, in call_a_library)")
    file = command_line.output / "tracebacks" / "broken-0.txt"
    assert f"its traceback is in {file}" in done.out
    text = file.read_text()
    assert text.startswith("Traceback (most recent call last):")
    assert "json/decoder.py" in text.replace("\\", "/")  # as far as the library's innermost line
    third_party(Toy("broken"))
    assert command_line.run("broken").code == 0
    assert not file.exists()


def test_scoring_is_part_of_what_an_entry_takes(command_line, third_party):
    third_party(Toy("sound"))
    first = command_line.run("sound")
    stored = read_run(command_line.output)
    costs = stored.records[stored.records.metric.isin(["seconds", "host_memory_mb"])]
    assert set(zip(costs.stage, costs.metric)) == {
        (stage, metric) for stage in ("labels", "score-labels") for metric in ("seconds", "host_memory_mb")
    }
    seconds = costs[costs.metric == "seconds"].value.sum()
    assert stored.runs[0]["provenance"]["seconds"] == pytest.approx(seconds, abs=2e-3)
    peak = costs[costs.metric == "host_memory_mb"].value.max()
    miou = next(
        row.value for row in stored.records.itertuples() if (row.metric, row.class_name) == ("miou", "")
    )
    line = f"sound · seed 0      –{100 * miou:7.1f}      –  {console.duration(seconds)}, peak memory {peak:.0f} MB"
    lines = first.out.splitlines()
    assert lines[lines.index(line) - 1] == "mIoU in %         CAM pseudo  segm."
    assert f"{line} (1 of 1 stages stored before)" in command_line.run("sound").out.splitlines()


def test_results_can_be_looked_at_while_others_run(command_line, third_party):
    third_party(Toy("first"), Toy("second", "tests.helpers.toys:look_for_note"))
    report = command_line.output / "report.html"
    done = command_line.run("first,second", f"method.second.note={report}")
    assert statuses(command_line.output) == {"first": ("done", ""), "second": ("done", "")}
    lines = done.out.splitlines()
    (first,) = (n for n, line in enumerate(lines) if line.startswith("first · seed 0 ") and " done" in line)
    assert "1 of 2 done" in lines[first]
    assert lines.index("second · seed 0 · labels: 0 s") > first
    assert lines[0].startswith("2 stages to do: ")


class Twice(Toy):
    """Two stages of two names that do the same, so that their keys are equal."""

    def stages(self, config, view, shared):
        (stage,) = super().stages(config, view, shared)
        return [replace(stage, name="before", scored_as="before"), stage]


def test_stages_that_do_the_same_are_each_made_and_scored(command_line, third_party):
    third_party(Twice("twice"))
    assert command_line.run("twice").code == 0
    (run,) = read_run(command_line.output).runs
    assert len({stage["key"] for stage in run["stages"]}) == 1
    assert {stage["name"]: stage["scoring"]["name"] for stage in run["stages"]} == {
        "before": "score-before",
        "labels": "score-labels",
    }
    records = read_run(command_line.output).records
    assert {"before", "pseudo_label"} <= set(records[records.metric == "miou"].stage)


def test_a_failure_is_not_cached(command_line, third_party):
    third_party(Toy("fickle", "tests.helpers.toys:explode"))
    assert command_line.run("fickle").code == 1
    third_party(Toy("fickle"))
    assert command_line.run("fickle").code == 0


def test_a_method_that_cannot_run_on_this_data_is_not_a_failure(command_line, third_party):
    third_party(not_runnable("demanding"), Toy("sound"))
    done = command_line.run("demanding,sound")
    assert done.code == 0
    assert statuses(command_line.output) == {
        "demanding": ("not run", "needs text embeddings; set method.toy.text=FILE"),
        "sound": ("done", ""),
    }


def test_a_method_that_cannot_be_planned_is_a_row_too(command_line, third_party):
    third_party(Toy("poor", refuses=MethodError("no weights; fetch them")), Toy("sound"))
    assert command_line.run("poor,sound").code == 1
    assert statuses(command_line.output)["poor"] == ("failed", "no weights; fetch them")


def test_a_second_run_does_nothing(command_line, third_party):
    third_party(Toy("sound"))
    command_line.run("sound")
    first = {p: p.stat().st_mtime_ns for p in command_line.store.rglob("*") if p.is_file()}
    records = read_run(command_line.output).records
    assert command_line.run("sound").code == 0
    assert {p: p.stat().st_mtime_ns for p in command_line.store.rglob("*") if p.is_file()} == first
    (run,) = read_run(command_line.output).runs
    assert [stage["cached"] for stage in run["stages"]] == [True]
    assert read_run(command_line.output).records.equals(records)


class FullDisk:
    """Label maps can be written until the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room, self._write = room, images.write_labels
        monkeypatch.setattr(images, "write_labels", self)

    def __call__(self, path: Path, labels: object) -> None:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        self.room -= 1
        self._write(path, labels)  # type: ignore[arg-type]


def test_a_full_disk_is_one_line_and_the_same_command_completes(command_line, third_party, monkeypatch):
    third_party(Toy("sound"))
    disk = FullDisk(monkeypatch, room=3)
    done = command_line.run("sound", "runtime.shard=2")
    assert done.code == 1
    reason = f"the disk with {command_line.store} is full; free some space and run the same command again"
    assert f"failed: sound seed 0: stage labels: {reason}: it resumes" in done.out
    disk.room = 100
    done = command_line.run("sound", "runtime.shard=2")
    assert done.code == 0
    assert "resuming at 2/6" in done.out
    assert disk.room == 100 - 4  # the finished shard of two stood


def test_a_disk_that_is_full_when_the_board_is_written(command_line, third_party, monkeypatch):
    third_party(Toy("sound"))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "records.parquet")

    with monkeypatch.context() as patched:
        patched.setattr("results.merge.write_run", full)
        done = command_line.run("sound")
    assert (done.code, done.err) == (
        2,
        "error: the disk is full; free some space and run the same command again: it resumes\n",
    )
    assert command_line.run("sound").code == 0


def test_resuming_keeps_the_shard_size_a_stage_began_with(command_line, third_party, monkeypatch):
    third_party(Toy("sound"))
    disk = FullDisk(monkeypatch, room=3)
    command_line.run("sound", "runtime.shard=2")
    disk.room = 100
    assert command_line.run("sound", "runtime.shard=1000").code == 0
    (manifest,) = (
        json.loads(p.read_text()) for p in command_line.store.glob("artifacts/labels/*/manifest.json")
    )
    assert len(manifest["files"]) == 6


def test_ctrl_c_exits_with_130_and_keeps_what_is_finished(command_line, third_party):
    third_party(Toy("first"), Toy("second", "tests.helpers.toys:interrupt"))
    done = command_line.run("first,second", "method.second.value=1")
    assert done.code == 130
    assert "the same command resumes" in done.out
    assert "Traceback" not in done.out + done.err
    assert len(list(command_line.store.glob("artifacts/labels/*/manifest.json"))) == 1
    third_party(Toy("first"), Toy("second"))
    assert command_line.run("first,second", "method.second.value=1").code == 0


def test_a_bar_that_a_failure_leaves_does_not_break_the_next(command_line, third_party, monkeypatch):
    third_party(Toy("broken", "tests.helpers.toys:explode"), Toy("sound"))
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(console, "console", terminal)
    monkeypatch.setattr("benchmark.execution.making.stage_progress", console._Bar)
    assert command_line.run("broken,sound").code == 1
    assert statuses(command_line.output)["sound"] == ("done", "")
    assert terminal._live_stack == []


def test_a_third_partys_method_is_listed_and_runs(command_line: CommandLine, third_party):
    third_party(Toy("outsider"))
    listed = command_line("list")
    assert listed.code == 0
    assert any(line.split()[:2] == ["outsider", "for"] for line in listed.out.splitlines())
    assert command_line.run("outsider").code == 0
    assert statuses(command_line.output) == {"outsider": ("done", "")}
