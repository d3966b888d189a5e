"""The part `methods` of `scripts/gpu_check.py`: every stage of every method on a few images, measured."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark.config import RuntimeConfig
from benchmark.execution.context import RunContext, mask_dense_map
from benchmark.execution.distributed import make_fabric
from benchmark.execution.memory import PeakMemory, release_unused
from benchmark.execution.training import seed_everything
from benchmark.store import SCRATCH
from datasets.base import Dataset
from methods.base import Artifact, Kind, Method, MethodError, Shared, Stage, Supervision, function_of
from methods.layers.weights.files import locate
from methods.registry import all_methods, find_method
from scripts.gpu_check import DONE, LEFT_OUT, Note, Options, failure
from scripts.gpu_pictures import noise_maps, open_pictures

WARM_UP = 5
"""Steps of a training before its time is taken: libraries choose their kernels in them."""
TRAINING_SHARE = 0.6
"""Of the time that is left, for the trainings that are left; the other stages take the rest."""
RESERVE = 15
"""Seconds before the end of a part's time from which on no stage is begun."""


def measure_methods(options: Options, note: Note, output: Path) -> None:
    chosen = (
        list(all_methods().values()) if options.methods == ("all",) else map(find_method, options.methods)
    )
    methods = [m for m in chosen if options.scale in m.presets]
    dataset = open_pictures(options.voc, Path(options.folder), options.images)
    plans: list[tuple[Method, Sequence[Stage]]] = []
    for method in methods:
        try:
            plans.append((method, _stages(method, dataset, options)))
        except Exception as error:
            note(method=method.name, **failure(error))
    ends = time.monotonic() + options.seconds - RESERVE
    trainings = {_key(stage) for _, stages in plans for stage in stages if stage.yields == Kind.WEIGHTS}
    made: dict[str, str] = {}
    for method, stages in plans:
        artifacts: dict[str, Artifact] = {}
        for stage in stages:
            row: dict[str, Any] = {"method": method.name, "stage": stage.name}
            key = _key(stage)
            left = ends - time.monotonic()
            lacking = [name for name in stage.inputs.values() if name not in artifacts]
            needed = any(stage.name in later.inputs.values() for later in stages)
            if lacking:
                note(**row, status=LEFT_OUT, reason=f"needs {lacking[0]}")
            elif key in made and not needed:
                note(**row, status=LEFT_OUT, reason=f"measured as {made[key]}")
            elif left < 0:
                note(**row, status=LEFT_OUT, reason="no time was left")
            else:
                share = left * TRAINING_SHARE / max(1, len(trainings - set(made)))
                try:
                    artifacts[stage.name], found = _measured(
                        stage, method, artifacts, dataset, options, share
                    )
                    note(**row, status=DONE, **found)
                    made.setdefault(key, f"{method.name}/{stage.name}")
                except Exception as error:
                    note(**row, **failure(error))


def _key(stage: Stage) -> str:
    """Equal for stages that do the same work, whichever method they are of."""
    return f"{stage.run} {stage.settings!r}"


def _stages(method: Method, dataset: Dataset, options: Options) -> Sequence[Stage]:
    """The method's stages with its preset, and random weights where there is no file."""
    settings = method.preset(options.scale, "paper", dataset.name)
    saliency = getattr(settings, "saliency", None)
    if (
        getattr(saliency, "source", "") == "folder"
    ):  # of which there are none: noise of the images' size will do
        folder = noise_maps(dataset, Path(options.folder) / "saliency")
        settings = dataclasses.replace(settings, saliency=dataclasses.replace(saliency, folder=str(folder)))
    return method.stages(settings, dataset.training_view(), Shared())


def _measured(
    stage: Stage,
    method: Method,
    made: Mapping[str, Artifact],
    dataset: Dataset,
    options: Options,
    seconds: float,
) -> tuple[Artifact, dict[str, Any]]:
    """Run a stage; a training ends after `seconds`. Returns its artifact and what it took."""
    release_unused()
    runtime = RuntimeConfig(device=options.device, checkpoint_every=10**9, cache_mb=0)
    output = Path(tempfile.mkdtemp(dir=options.folder))
    (output / SCRATCH).mkdir()
    masks = mask_dense_map(dataset) if Supervision.MASKS in method.supervision else None
    inputs = {role: made[name] for role, name in stage.inputs.items()}
    context = _Context(
        make_fabric(runtime), runtime, dataset.training_view(), inputs, output, 0, _Silent(), masks
    )
    context.most, context.seconds = options.iterations, seconds
    seed_everything(0)
    began = time.monotonic()
    with PeakMemory() as memory:
        function_of(stage.run)(context, stage.settings)
    took = time.monotonic() - began
    found: dict[str, Any] = {
        "seconds": round(took, 2),
        "device_memory_mb": memory.device_mb and round(memory.device_mb),
        "host_memory_mb": round(memory.host_mb),
        "random_weights": context.random_weights or None,
    }
    if context.trainings:
        found["trainings"] = context.trainings
    else:
        images = sum(len(dataset.training_view().samples(split)) for split in stage.splits)
        found |= {"images": images, "images_per_second": round(images / took, 3)}
    return Artifact(output, "", stage.yields), found


class _Context(RunContext):
    """Its trainings end early and are measured."""

    most: int
    seconds: float

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.trainings: list[dict[str, Any]] = []
        self.random_weights: list[str] = []

    def weights_path(self, reference: str) -> Path | None:
        try:
            found = locate(reference)
        except MethodError:
            found = None
        if found is None and reference != "none":
            self.random_weights.append(reference)
        return found

    def train(
        self,
        network: Any,
        optimizer: Any,
        losses: Any,
        batches: Callable[[int, int], Iterator[Any]],
        iterations: int,
        learning_rate: Callable[[int], float],
    ) -> None:
        totals: list[torch.Tensor] = []
        times: list[float] = []
        waited = 0.0

        def measured(network: Any, batch: Any) -> Mapping[str, torch.Tensor]:
            terms: Mapping[str, torch.Tensor] = losses(network, batch)
            totals.append(torch.stack([value.detach() for value in terms.values()]).sum())
            return terms

        def until_time_is_up(start: int, stop: int) -> Iterator[Any]:
            nonlocal waited
            ends = time.monotonic() + self.seconds
            source = batches(start, stop)
            for _ in range(start, stop):
                if len(times) == WARM_UP:
                    waited = 0.0
                asked = time.monotonic()
                batch = next(source)
                waited += time.monotonic() - asked
                yield batch
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                times.append(time.monotonic())
                if time.monotonic() > ends:
                    break
            source.close()  # type: ignore[attr-defined]

        steps = min(iterations, self.most)
        super().train(network, optimizer, measured, until_time_is_up, steps, learning_rate)
        history = torch.stack(totals).tolist()
        tenth = max(1, len(history) // 10)
        first, last = (sum(part) / len(part) for part in (history[:tenth], history[-tenth:]))
        row: dict[str, Any] = {
            "steps": len(history),
            "loss_first": first,
            "loss_last": last,
            "falls": last < first,
        }
        if len(times) > WARM_UP:
            took = times[-1] - times[WARM_UP - 1]
            row["step_seconds"] = round(took / (len(times) - WARM_UP), 5)
            row["wait_share"] = round(min(1.0, waited / took), 4)
        self.trainings.append(row)


class _Silent:
    def start(self, total: int, unit: str, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
    def stop(self) -> None: ...
