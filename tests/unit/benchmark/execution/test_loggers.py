"""Losses and scores go to the chosen logger as they come, and nowhere by default."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.config import LOGGERS, NO_LOGGER
from benchmark.execution.loggers import BACKENDS
from tests.helpers.toys import CommandLine, Toy, ToyConfig, fill


def learn(context: Any, settings: ToyConfig) -> None:
    """Two trainings of three iterations, whose loss is the iteration; then label maps."""

    def batches(start: int, stop: int) -> Iterator[SimpleNamespace]:
        yield from (SimpleNamespace(images=torch.tensor([float(i)])) for i in range(start, stop))

    for _ in range(2):
        network = nn.Linear(1, 1)
        optimiser = torch.optim.SGD(network.parameters(), 0.1)
        context.train(network, optimiser, losses, batches, 3, lambda iteration: 1.0)
    fill(context, settings)


def losses(network: nn.Module, batch: SimpleNamespace) -> dict[str, torch.Tensor]:
    return {"rising": batch.images.sum() + 0 * network(torch.ones(1)).sum()}


def run(command_line: CommandLine, logger: str) -> Any:
    log_dir = f"runtime.log_dir={command_line.folder / 'logs'}"
    return command_line.run("toy", f"runtime.logger={logger}", log_dir, "runtime.checkpoint_every=1")


@pytest.fixture
def learner(third_party: Any) -> None:
    third_party(Toy("toy", "tests.unit.benchmark.execution.test_loggers:learn"))


def test_every_option_has_a_backend() -> None:
    assert (NO_LOGGER, *BACKENDS) == LOGGERS


def test_nothing_is_written_by_default(command_line, learner):
    log_dir = command_line.folder / "logs"
    assert command_line.run("toy", f"runtime.log_dir={log_dir}").code == 0
    assert not log_dir.exists()


@pytest.mark.parametrize("logger", list(BACKENDS))
def test_a_missing_package_is_one_line_with_the_remedy(command_line, learner, monkeypatch, logger):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == logger else found(name))
    done = run(command_line, logger)
    assert done.code == 2
    assert done.err == f"error: runtime.logger={logger} needs the package {logger}; pip install {logger}\n"
    assert not list(command_line.store.glob("artifacts/*"))  # before anything is computed


def test_an_unknown_logger_names_the_closest(command_line, learner):
    done = run(command_line, "tensorbord")
    assert done.code == 2
    assert "did you mean 'tensorboard'" in done.err


def test_tensorboard(command_line, learner):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run(command_line, "tensorboard").code == 0
    events = EventAccumulator(str(command_line.folder / "logs" / "shapes-nano-paper" / "toy-0"))
    events.Reload()
    curve = events.Scalars("labels/rising")
    assert [(point.step, point.value) for point in curve] == [(i + 1, i % 3) for i in range(6)]
    (score,) = events.Scalars("pseudo_label/miou")
    assert 0 < score.value < 1


def test_a_stored_stage_logs_its_scores_alone(command_line, learner):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command_line.run("toy")
    run(command_line, "tensorboard")
    events = EventAccumulator(str(command_line.folder / "logs" / "shapes-nano-paper" / "toy-0"))
    events.Reload()
    assert "pseudo_label/miou" in events.Tags()["scalars"]
    assert "labels/rising" not in events.Tags()["scalars"]


def test_mlflow(command_line, learner, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run(command_line, "mlflow").code == 0
    client = mlflow.MlflowClient(f"sqlite:///{command_line.folder / 'logs' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("shapes-nano-paper").experiment_id])
    assert found.info.run_name == "toy-0"
    assert found.info.status == "FINISHED"
    history = sorted((m.step, m.value) for m in client.get_metric_history(found.info.run_id, "labels/rising"))
    assert history == [(i + 1, i % 3) for i in range(6)]
    assert 0 < found.data.metrics["pseudo_label/miou"] < 1


def test_wandb(command_line, learner, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert run(command_line, "wandb").code == 0
    (file,) = Path(command_line.folder / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    for word in (b"labels/rising", b"labels/iteration", b"pseudo_label/miou", b"shapes-nano-paper", b"toy-0"):
        assert word in content
