"""Runs in processes of their own: the same artifacts, each made once; a failure or a death is one run's row."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from datasets.files.cores import usable_cores
from results.io import read_run
from tests.helpers.toys import CommandLine, Toy, ToyConfig
from tests.unit.benchmark.execution.test_loggers import learn


def die(context: Any, settings: ToyConfig) -> None:
    """End this process as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def learn_beside(context: Any, settings: ToyConfig) -> None:
    """As `learn`; leaves the process and its threads."""
    import torch

    learn(context, settings)
    (context.output / "process.json").write_text(json.dumps([os.getpid(), torch.get_num_threads()]))


@pytest.fixture
def two(command_line: CommandLine, third_party: Any) -> Any:
    """A run of five methods in two processes, one of which fails, and one of which kills its process."""
    third_party(
        Toy("fails", "tests.helpers.toys:explode"),
        Toy("dies", "tests.integration.test_processes:die"),
        Toy("first", "tests.integration.test_processes:learn_beside"),
        Toy("same", "tests.integration.test_processes:learn_beside"),
        Toy("other"),
    )
    log_dir = command_line.folder / "logs"
    return command_line.run(
        "fails,dies,first,same,other",
        "method.other.value=1",
        "runtime.processes=2",
        "runtime.logger=tensorboard",
        f"runtime.log_dir={log_dir}",
    )


def test_two_processes(command_line, two):
    assert two.code == 1
    runs = {run["method"]: run for run in read_run(command_line.output).runs}
    assert {name: run["status"] for name, run in runs.items()} == {
        "fails": "failed",
        "dies": "failed",
        "first": "done",
        "same": "done",
        "other": "done",
    }
    assert runs["fails"]["reason"].startswith("stage labels: ValueError: a wire has come loose (toys.py:")
    (traceback,) = (command_line.output / "tracebacks").iterdir()
    assert "a wire\nhas come loose" in traceback.read_text()
    assert "was ended from outside" in runs["dies"]["reason"]
    assert "the same command again" in runs["dies"]["reason"]
    assert "Traceback" not in two.out + two.err

    (shared,) = {runs[name]["stages"][0]["key"] for name in ("first", "same")}
    process, threads = json.loads(
        (command_line.store / "artifacts" / "labels" / shared / "process.json").read_text()
    )
    assert process != os.getpid()
    assert threads == max(1, usable_cores() // 2)
    assert [runs[name]["stages"][0]["cached"] for name in ("first", "same")] == [False, True]
    assert "first · seed 0 · labels: " in two.out  # what workers say is shown
    assert two.out.count("same · seed 0 · labels: ") == 0

    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = events.EventAccumulator(str(command_line.folder / "logs" / "shapes-nano-paper" / "first-0"))
    log.Reload()
    assert [(p.step, p.value) for p in log.Scalars("labels/rising")] == [(i + 1, i % 3) for i in range(6)]
    assert log.Scalars("pseudo_label/miou")


def files(store: Path) -> dict[str, str]:
    """Content hashes of all artifacts' files by artifact."""
    return {
        f"{manifest.parent.name}/{name}": file["sha256"]
        for manifest in store.glob("artifacts/*/*/manifest.json")
        for name, file in json.loads(manifest.read_text())["files"].items()
        if name != "counts.parquet"  # has the time in its header
    }


def test_the_artifacts_are_those_of_one_process(command_line, third_party, tmp_path):
    third_party(Toy("one"), Toy("two"))
    arguments = ("one,two", "method.two.value=1")
    assert command_line.run(*arguments, "runtime.processes=1").code == 0
    board = read_run(command_line.output).records.drop(columns=["key"])
    own = CommandLine(tmp_path / "again", command_line.data)
    assert own.run(*arguments, "runtime.processes=2").code == 0
    assert files(own.store) == files(command_line.store)
    again = read_run(own.output).records.drop(columns=["key"])
    costs = ["seconds", "host_memory_mb", "device_memory_mb"]
    order = ["method", "stage", "variant", "split", "metric", "class_name"]

    def scores(records: Any) -> Any:
        return records[~records.metric.isin(costs)].sort_values(order, ignore_index=True)

    assert scores(again).equals(scores(board))
