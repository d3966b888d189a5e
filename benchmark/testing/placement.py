"""Runs every stage of a planned run on a simulated CUDA device, where a tensor on the wrong device is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmark.execution.context import RunContext, mask_dense_map
from benchmark.execution.training import seed_everything
from benchmark.planning.plan import Plan, PlannedRun
from benchmark.store import SCRATCH
from benchmark.testing.simulated_cuda import simulated_cuda
from methods.base import Artifact, Supervision, function_of

STEPS, BATCH = 2, 4
"""Iterations of every training, and most images of a batch."""


def run_on_simulated_cuda(plan: Plan, run: PlannedRun, folder: Path) -> None:
    """Run the stages of one of the plan's runs, artifacts in `folder`; trainings are short.

    Raises what a stage raises: PlacementError where tensors of several devices meet.
    """
    made: dict[str, Artifact] = {}
    with simulated_cuda() as device:
        for planned in run.stages:
            stage = planned.stage
            output = folder / stage.name
            (output / SCRATCH).mkdir(parents=True)
            context = _Context(
                _Fabric(device),  # type: ignore[arg-type]
                replace(plan.config.runtime, max_iterations=STEPS),
                plan.dataset.training_view(),
                {role: made[up.stage.name] for role, up in planned.inputs.items()},
                output,
                run.seed,
                _NoProgress(),
                mask_dense_map(plan.dataset) if Supervision.MASKS in run.method.supervision else None,
            )
            seed_everything(run.seed)
            function_of(stage.run)(context, stage.settings)
            made[stage.name] = Artifact(output, planned.key, stage.yields, stage.settings)


class _Context(RunContext):
    def train_batches(
        self,
        samples: Any,
        recipe: Any,
        normalisation: Any,
        batch_size: int,
        dense_maps: Any = None,
        views: Any = (),
    ) -> Any:
        fewer = min(batch_size, BATCH)
        return super().train_batches(samples, recipe, normalisation, fewer, dense_maps, views)


class _Fabric:
    """What the training loop asks of Lightning Fabric, which finds no accelerator here."""

    world_size, global_rank, is_global_zero = 1, 0, True

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.strategy = self.precision = self

    def setup(self, network: Any, optimizer: Any) -> tuple[Any, Any]:
        return network, optimizer

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def all_reduce(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def all_gather(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def barrier(self) -> None: ...

    def state_dict(self) -> Mapping[str, Any]:
        return {}


class _NoProgress:
    def start(self, total: int, unit: str, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
    def stop(self) -> None: ...
