"""The training loop: resuming gives what an uninterrupted run gives, bit for bit; bad losses stop it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from benchmark.console import stage_progress
from benchmark.execution import training
from benchmark.execution.training import train
from datasets.base import Sample, TrainingView
from datasets.recipe import IMAGENET, Recipe
from tests.helpers.damage import DAMAGE
from tests.helpers.refining import context
from tests.helpers.trees import write_image

ITERATIONS = 9


class InterruptionError(Exception):
    pass


def batches(start: int, stop: int) -> Iterator[torch.Tensor]:
    """Inputs that follow from the iteration alone, as the loader's do."""
    for iteration in range(start, stop):
        yield torch.randn(8, 4, generator=torch.Generator().manual_seed(iteration))


class Losses:
    """Two terms of a regression; stops the run at an iteration, or gives a loss that is not finite there."""

    def __init__(self, interrupted_at: int | None = None, infinite_at: int | None = None) -> None:
        self.calls, self.interrupted_at, self.infinite_at = 0, interrupted_at, infinite_at

    def __call__(self, network: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.calls == self.interrupted_at:
            raise InterruptionError
        predicted = network(batch)
        factor = float("inf") if self.calls == self.infinite_at else 1.0
        self.calls += 1
        return {
            "fit": (predicted - batch.sum(1, keepdim=True)).pow(2).mean() * factor,
            "size": predicted.abs().mean(),
        }


def make(folder: Path, seed: int, every: int = 2, **options: int) -> SimpleNamespace:
    """Train a network with dropout, whose random numbers have to be restored too."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 1))
    optimiser = torch.optim.SGD(
        [{"params": network[0].parameters()}, {"params": network[3].parameters(), "lr": 0.1}],
        lr=0.01,
        momentum=0.9,
        weight_decay=1e-3,
    )
    folder.mkdir(exist_ok=True)
    losses = Losses(**options)
    train(
        Fabric(accelerator="cpu", devices=1),
        network,
        optimiser,
        losses,  # type: ignore[arg-type]
        batches,  # type: ignore[arg-type]
        ITERATIONS,
        lambda iteration: (1 - iteration / ITERATIONS) ** 0.9,
        checkpoint=folder / "checkpoint.pt",
        history=folder / "losses.json",
        checkpoint_every=every,
        progress=stage_progress("test"),
    )
    history = json.loads((folder / "losses.json").read_text())
    return SimpleNamespace(state=network.state_dict(), history=history, calls=losses.calls)


@pytest.mark.parametrize("stop", [1, 4, 5, 8])
def test_resuming_equals_an_uninterrupted_run(tmp_path, stop):
    whole = make(tmp_path / "whole", seed=0)
    with pytest.raises(InterruptionError):
        make(tmp_path / "parts", seed=0, interrupted_at=stop)
    resumed = make(tmp_path / "parts", seed=0 if stop == 1 else 99)  # before a checkpoint all starts anew
    assert resumed.calls == ITERATIONS - stop // 2 * 2
    assert resumed.history == whole.history
    for name, tensor in whole.state.items():
        assert torch.equal(tensor, resumed.state[name]), name


def test_resuming_after_several_interruptions(tmp_path):
    whole = make(tmp_path / "whole", seed=0)
    for _ in range(3):
        with pytest.raises(InterruptionError):
            make(tmp_path / "parts", seed=0, interrupted_at=3)
    resumed = make(tmp_path / "parts", seed=7)
    assert resumed.calls == ITERATIONS - 6
    assert all(torch.equal(t, resumed.state[n]) for n, t in whole.state.items())


def test_a_finished_training_is_not_repeated(tmp_path):
    whole = make(tmp_path / "run", seed=0)
    again = make(tmp_path / "run", seed=5)
    assert again.calls == 0
    assert all(torch.equal(t, again.state[n]) for n, t in whole.state.items())


def test_the_history_holds_means_over_equal_shares_of_the_training(tmp_path, monkeypatch):
    every_one = make(tmp_path / "all", seed=0).history
    assert [entry["iteration"] for entry in every_one] == list(range(1, ITERATIONS + 1))
    monkeypatch.setattr(training, "POINTS", 3)
    by_three = make(tmp_path / "three", seed=0).history
    assert [entry["iteration"] for entry in by_three] == [3, 6, 9]
    for number, entry in enumerate(by_three):
        for term in ("fit", "size"):
            mean = sum(e[term] for e in every_one[3 * number : 3 * number + 3]) / 3
            assert entry[term] == pytest.approx(mean)


def test_the_history_does_not_depend_on_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "POINTS", 2)
    whole = make(tmp_path / "whole", seed=0, every=ITERATIONS).history
    assert [entry["iteration"] for entry in whole] == [5, 9]
    with pytest.raises(InterruptionError):
        make(tmp_path / "parts", seed=0, every=2, interrupted_at=3)
    assert make(tmp_path / "parts", seed=99, every=4).history == whole


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(FloatingPointError, match=r"not finite before iteration 5 \(fit .*lower the learning"):
        make(tmp_path / "run", seed=0, infinite_at=4)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["iteration"] == 4  # the last good one


def test_what_a_stages_trainings_take_is_told(tmp_path):
    """Both trainings of a stage, and what their loaders waited; nothing where no step was left to do."""
    path = tmp_path / "a.png"
    write_image(path, size=(20, 20))
    samples = (Sample("a", path, (0,)), Sample("b", path, (1,)))
    view = TrainingView("test", ("x", "y"), {"train": samples})

    def trained() -> dict[str, float]:
        stage = context(view, {}, tmp_path)
        assert stage.training_costs() == {}
        for _ in range(2):
            network = nn.Conv2d(3, 2, 1)
            stage.train(
                network,
                torch.optim.SGD(network.parameters(), 0.01),
                lambda net, batch: {"fit": net(batch.images).square().mean()},
                stage.train_batches(samples, Recipe(crop=16, resize_long=(16, 24)), IMAGENET, 2),
                3,
                lambda iteration: 1.0,
            )
        return stage.training_costs()

    costs = trained()
    assert costs.keys() == {"step_seconds", "wait_share"}
    assert costs["step_seconds"] > 0
    assert 0 < costs["wait_share"] <= 1
    assert trained() == {}  # both are finished


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_said_and_the_training_begins_anew(tmp_path, kind, capsys):
    whole = make(tmp_path / "whole", seed=0)
    with pytest.raises(InterruptionError):
        make(tmp_path / "parts", seed=0, interrupted_at=5)
    DAMAGE[kind](tmp_path / "parts" / "checkpoint.pt")
    again = make(tmp_path / "parts", seed=0)
    assert ("checkpoint.pt: damaged (" in capsys.readouterr().out.replace("\n", "")) == (kind != "removed")
    assert again.calls == ITERATIONS
    assert again.history == whole.history
    assert all(torch.equal(t, again.state[n]) for n, t in whole.state.items())
