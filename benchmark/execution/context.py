"""The harness's implementation of `methods.base.StageContext`: what a running stage is handed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchmark.console import Progress, console
from benchmark.execution import training
from benchmark.execution.fitting import Fit
from benchmark.store import SCRATCH
from datasets.base import DataError, Dataset, DenseMap, Sample, TrainingView
from datasets.loading.loader import Batch, ImageBatch, TrainLoader, image_batches
from datasets.recipe import Normalisation, Recipe, View
from methods.base import Artifact, Kind, MethodError, Supervision
from methods.layers.weights.files import fetch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from benchmark.config import RuntimeConfig


class RunContext:
    """See `methods.base.StageContext`."""

    def __init__(
        self,
        fabric: Fabric,
        runtime: RuntimeConfig,
        view: TrainingView,
        inputs: Mapping[str, Artifact],
        output: Path,
        seed: int,
        progress: Progress,
        masks: DenseMap | None,
        checkpoints: Path | None = None,
        log_metrics: Callable[[Mapping[str, float], int], None] = lambda values, iteration: None,
        by_all: bool = True,
        fit: Fit | None = None,
    ) -> None:
        """checkpoints: folder of the training's newest states; None: the output's own
        by_all: whether all processes under torchrun run this stage, without which none could train
        log_metrics: called with the losses by name and the iteration, counted over all of the stage's trainings
        fit: how far batches are divided to fit the memory; None: as the settings say
        """
        self.view, self.inputs, self.output, self.seed = view, inputs, output, seed
        self.device: torch.device = fabric.device
        self.processes = fabric.world_size
        self._fabric, self._runtime, self._progress, self._masks = fabric, runtime, progress, masks
        self._checkpoints = checkpoints or output / SCRATCH
        self._log_metrics, self._by_all = log_metrics, by_all
        self._fit = fit or Fit(runtime)
        self._trainings = self._iterations = 0
        self._loaders: list[TrainLoader] = []
        self._steps, self._training_seconds = 0, 0.0

    def masks(self) -> DenseMap:
        if self._masks is None:
            raise PermissionError(
                f"this stage asked for true masks, but its method does not declare Supervision.{Supervision.MASKS.name}"
            )
        return self._masks

    def weights_path(self, reference: str) -> Path | None:
        return fetch(reference, self._runtime.weights_root)

    def train_batches(
        self,
        samples: Sequence[Sample],
        recipe: Recipe,
        normalisation: Normalisation,
        batch_size: int,
        dense_maps: Mapping[str, DenseMap] | None = None,
        views: Sequence[View] = (),
    ) -> Callable[[int, int], Iterator[Batch]]:
        loader = TrainLoader(
            samples,
            len(self.view.classes),
            recipe,
            normalisation,
            batch_size,
            seed=self.seed,
            device=self.device,
            dense_maps=dense_maps or {},
            workers=self._runtime.workers or None,
            cache_bytes=self._runtime.cache_mb << 20,
            rank=self._fabric.global_rank,
            world_size=self._fabric.world_size,
            views=views,
        )
        self._loaders.append(loader)
        return loader.batches

    def images(
        self, samples: Sequence[Sample], normalisation: Normalisation, batch_size: int, tiled: bool = False
    ) -> Iterator[ImageBatch]:
        at_once = self._fit.images_at_once(batch_size)
        for batch in image_batches(
            samples,
            len(self.view.classes),
            normalisation,
            1 if tiled else at_once,
            device=self.device,
            workers=self._runtime.workers or None,
        ):
            self._fit.gives(at_once if tiled else len(batch.ids), tiled)
            yield replace(batch, at_once=at_once)
            self._progress.advance(len(batch.ids))
        self._fit.gives(0)

    def train(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        losses: training.Losses,
        batches: Callable[[int, int], Iterator[Batch]],
        iterations: int,
        learning_rate: Callable[[int], float],
    ) -> None:
        if not self._by_all:  # it would wait for the others for ever
            raise MethodError(
                f"a stage that trains under torchrun has to yield Kind.{Kind.WEIGHTS.name}; run it without torchrun"
            )
        iterations = min(iterations, self._runtime.max_iterations or iterations)
        self._trainings += 1
        before = self._iterations
        self._iterations += iterations
        began = time.perf_counter()

        def seen(start: int, stop: int) -> Iterator[Batch]:
            for batch in batches(start, stop):
                self._fit.sees(len(getattr(batch, "images", ())))  # a plug-in's may be anything
                yield batch

        with self._fit.training(network):
            self._steps += training.train(
                self._fabric,
                network,
                optimizer,
                losses,
                seen,
                iterations,
                learning_rate,
                checkpoint=self._checkpoints / f"checkpoint-{self._trainings}.pt",
                history=self.output / f"losses-{self._trainings}.json",
                checkpoint_every=self._runtime.checkpoint_every,
                progress=self._progress,
                log=lambda values, iteration: self._log_metrics(values, before + iteration),
            )
        self._training_seconds += time.perf_counter() - began

    def training_costs(self) -> dict[str, float]:
        """Seconds for each step of the stage's trainings, and the share spent waiting for data; empty without a step."""
        if not self._steps:
            return {}
        waited = sum(loader.wait_seconds for loader in self._loaders)
        return {
            "step_seconds": round(self._training_seconds / self._steps, 5),
            "wait_share": round(waited / self._training_seconds, 4),
        }

    def shards(self, samples: Sequence[Sample]) -> Iterator[tuple[str, Sequence[Sample]]]:
        size = self._shard_size()
        parts = [samples[i : i + size] for i in range(0, len(samples), size)]
        names = [f"shard-{n:05d}" for n in range(len(parts))]
        marks = [self.output / SCRATCH / f"{name}.done" for name in names]
        done = sum(len(part) for part, mark in zip(parts, marks) if mark.exists())
        self._progress.start(len(samples), "img", done=done)
        for name, part, mark in zip(names, parts, marks):
            if not mark.exists():
                yield name, part
                mark.touch()  # the loop's body has run to its end
        self._progress.stop()

    def _shard_size(self) -> int:
        """`runtime.shard`, or what it was when this stage began: its finished shards are of that size."""
        file = self.output / SCRATCH / "shard-size"
        if not file.exists():
            temporary = file.with_suffix(".tmp")
            temporary.write_text(str(self._runtime.shard))
            temporary.replace(file)
        try:
            return int(file.read_text())
        except ValueError:
            raise DataError(f"{file}: damaged; remove {self.output} and run the same command again") from None

    def report_scores(self, sample_id: str, scores: torch.Tensor) -> None: ...

    def advance(self, images: int) -> None:
        self._progress.advance(images)

    def log(self, message: str) -> None:
        console.print(f"  {message}", markup=False)


def mask_dense_map(dataset: Dataset) -> DenseMap:
    """True masks as a label map; only for mask-supervised entries."""

    def path_of(sample_id: str) -> Path:
        path = dataset.mask_path(sample_id)
        if path is None:
            raise FileNotFoundError(f"{dataset.name} has no mask for {sample_id}")
        return path

    return DenseMap(path_of, "labels")
