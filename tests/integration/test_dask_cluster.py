"""A Dask cluster on loopback: equal results; workers, processes and the scheduler die; nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from results.io import read_run
from tests.helpers.toys import CommandLine, Toy, ToyConfig, fill
from tests.integration.test_processes import files
from tests.integration.test_signals import SAID, Run, left

pytest.importorskip("distributed")

from tests.helpers.dask_cluster import DaskCluster


def fill_and_lose(context: Any, settings: ToyConfig) -> None:
    """As `fill`, in parts of two images; after the first part, once, it kills what the note says: this process, or the
    worker that it was started by."""
    victims = {"process": os.getpid(), "worker": os.getppid()}
    parts = context.shards

    def losing(samples: Any) -> Iterator[Any]:
        for number, part in enumerate(parts(samples)):
            if number == 1 and not (lost := context.output.parent / f"{settings.note}.lost").exists():
                lost.touch()
                os.kill(victims[settings.note], signal.SIGKILL)
                signal.pause()  # the worker's process ends with it
            yield part

    context.shards = losing
    fill(context, settings)


def scores(command: CommandLine) -> Any:
    """All records but keys and costs."""
    records = read_run(command.output).records.drop(columns="key")
    costs = ["seconds", "host_memory_mb", "device_memory_mb"]
    order = ["method", "stage", "variant", "split", "metric", "class_name"]
    return records[~records.metric.isin(costs)].sort_values(order, ignore_index=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path) as found:
        yield found


def test_workers_and_processes_that_die_change_nothing(cluster, command_line, third_party, tmp_path):
    for _ in range(2):
        cluster.add_worker()
    loses = "tests.integration.test_dask_cluster:fill_and_lose"
    third_party(Toy("loses_worker", loses), Toy("loses_process", loses), Toy("sound"))
    arguments = (
        "loses_worker,loses_process,sound",
        "method.loses_worker.note=worker",
        "method.loses_process.note=process",
        "method.sound.value=1",
        "runtime.shard=2",
    )
    done = command_line.run(*arguments, "--scheduler", str(cluster.file))
    assert done.code == 0, done.out + done.err
    assert "Traceback" not in done.out + done.err
    (gone,) = cluster.ended()
    assert gone.returncode == -signal.SIGKILL
    rows = {run["method"]: run for run in read_run(command_line.output).runs}
    resumed = {name: run["stages"][0]["resumed"] for name, run in rows.items()}
    assert resumed == {"loses_worker": True, "loses_process": True, "sound": False}

    third_party(Toy("loses_worker"), Toy("loses_process"), Toy("sound"))
    here = CommandLine(tmp_path / "here", command_line.data)
    assert here.run(*arguments).code == 0
    assert scores(command_line).equals(scores(here))
    assert sorted(files(here.store).values()) == sorted(files(command_line.store).values())


def start(run: Run, cluster: DaskCluster) -> subprocess.Popen[str]:
    """A command on the cluster both of whose stages are at work."""
    run.command += ["--scheduler", str(cluster.file)]
    process, started = run.start(2)
    assert started == []  # workers do everything
    return process


def test_an_interrupt_stops_the_stages_and_leaves_the_workers(cluster, tmp_path, generated):
    workers = [psutil.Process(cluster.add_worker().pid) for _ in range(2)]
    run = Run(tmp_path, generated, 0)
    process = start(run, cluster)
    stages = [
        child
        for worker in workers
        for child in worker.children()
        if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(stages) == 2
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert said.rstrip().split("\n")[-1] == SAID
    assert "Traceback" not in said
    assert left(stages) == []
    assert cluster.ended() == []
    again = run.resume()
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("resuming at 3/6 it") == 2


def test_without_its_scheduler_a_command_ends_with_one_line(cluster, tmp_path, generated):
    for _ in range(2):
        cluster.add_worker()
    run = Run(tmp_path, generated, 0)
    process = start(run, cluster)
    cluster.scheduler.kill()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 2, said
    assert "Traceback" not in said
    last = said.rstrip().split("\n")[-1]
    assert last.startswith(f"error: the scheduler {cluster.file} is gone; everything finished is stored")
    for worker in cluster.workers:
        worker.wait(timeout=120)  # they end with it, and what they were at with them
    del run.command[-2:]
    here = run.resume()
    assert here.returncode == 0, here.stdout + here.stderr
    assert here.stdout.count("resuming at 3/6 it") == 2
