"""SIGTERM, Ctrl-C and SIGKILL while a run trains: here, in worker processes and under torchrun; nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from datasets.base import TrainingView
from methods.base import Kind, Shared, Stage
from tests.conftest import ROOT
from tests.helpers.toys import Toy, ToyConfig

SCRIPT = """
from benchmark.__main__ import program
from tests.helpers.toys import registered
from tests.integration.test_signals import Trained

if __name__ == "__main__":
    with registered(Trained("one"), Trained("two")):
        program()
"""
SAID = "Stopped. Everything finished is stored; the same command resumes."
PATIENCE = 10.0
"""Seconds in which processes have to follow the one that was ended."""
TORCHRUNS_PATIENCE = 60.0
"""The same of torchrun's, whose end takes longer."""


def train_on(context: Any, settings: ToyConfig) -> None:
    """Six steps with a checkpoint each; before the fourth it says so to the FIFO that `note` names, if it is there, and
    waits."""

    def batches(start: int, stop: int) -> Iterator[torch.Tensor]:
        for i in range(start, stop):
            if i == 3 and Path(settings.note).is_fifo():
                Path(settings.note).write_text("at work\n")
                signal.pause()
            yield torch.tensor(float(i))

    network = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    context.train(network, optimiser, losses, batches, 6, lambda iteration: 1.0)


class Trained(Toy):
    """Trains before it yields its labels."""

    def stages(self, config: ToyConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        inputs = {"network": "weights"}
        return [
            Stage("weights", f"{__name__}:train_on", config, Kind.WEIGHTS),
            Stage("labels", "tests.helpers.toys:fill", config, Kind.PSEUDO_LABEL, inputs),
        ]


def losses(network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"rising": batch + 0 * network(torch.ones(1)).sum()}


class Run:
    """A run of both methods, which train."""

    def __init__(self, folder: Path, data: Path, processes: int, *launcher: str) -> None:
        self.fifo, script = folder / "at work", folder / "script.py"
        os.mkfifo(self.fifo)
        script.write_text(SCRIPT)
        notes = [f"method.{name}.note='{self.fifo}'" for name in ("one", "two")]
        # Other values, or they would share what they train.
        settings = ["method.two.value=1", "dataset.train=6", "dataset.val=2", f"dataset.root={data}"]
        settings += [f"runtime.store={folder / 'store'}", "runtime.checkpoint_every=1"]
        settings += [f"runtime.processes={processes}", *notes]
        options = ["run", "--methods", "one,two", "--device", "cpu", "--output", str(folder / "run")]
        self.command = [sys.executable, *launcher, str(script), *options, *settings]
        environment = {
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        self.environment = os.environ | environment

    def start(self, times: int) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        """The process, and all that it has started when it has said so many times that it trains."""
        process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # In a shell's background, where this may run, an interrupt is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        # Opened to be written, too: it does not end between two of them.
        with os.fdopen(os.open(self.fifo, os.O_RDWR)) as fifo:
            for _ in range(times):
                assert fifo.readline() == "at work\n"
        return process, psutil.Process(process.pid).children(recursive=True)

    def resume(self) -> subprocess.CompletedProcess[str]:
        self.fifo.unlink()
        return subprocess.run(
            self.command, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )


def left(started: list[psutil.Process], patience: float = PATIENCE) -> list[psutil.Process]:
    """Those that do not follow; they are ended."""
    alive: list[psutil.Process] = psutil.wait_procs(started, timeout=patience)[1]
    for process in alive:
        process.kill()
    return alive


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_is_told_to_stop_goes_on_later(
    tmp_path: Path, generated: Path, processes: int, number: signal.Signals, code: int
) -> None:
    run = Run(tmp_path, generated, processes)
    process, started = run.start(processes)
    assert bool(started) == (processes > 1)
    process.send_signal(number)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == code, said
    assert said.rstrip().split("\n")[-1] == SAID
    assert "Traceback" not in said
    assert left(started) == []
    again = run.resume()
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("resuming at 3/6 it") == processes


def test_workers_and_the_resource_tracker_end_with_a_parent_that_is_killed(
    tmp_path: Path, generated: Path
) -> None:
    process, started = Run(tmp_path, generated, 2).start(2)
    assert len(started) == 3
    process.kill()
    process.wait()
    assert left(started) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_torchrun_has_started_ends_with_it(
    tmp_path: Path, generated: Path, number: signal.Signals
) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    process, started = Run(tmp_path, generated, 1, *launcher).start(2)
    assert len(started) >= 2
    process.send_signal(number)
    assert left(started, TORCHRUNS_PATIENCE) == []
    said = process.communicate(timeout=60)[0]
    assert said.count(SAID) == (number != signal.SIGKILL)  # of the process that leads, and in no other
