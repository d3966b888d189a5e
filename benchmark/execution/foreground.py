"""What a prediction keeps, beside its label maps, where verdicts on images are scored: foreground maps, image scores.

A threshold that is set by the labels of training images needs the scores of some of these, too: the stage runs once
more, on a view whose validation images they are, as it does for `predict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmark.evaluation.inspection.foreground import (
    IMAGE_SCORES,
    SCORES,
    TRAIN_SCORES,
    levels_of,
    map_path,
)
from benchmark.execution.context import RunContext
from benchmark.store import SCRATCH
from datasets.base import Sample, TrainingView
from datasets.files.images import write_labels
from methods.artifacts import write_image_scores

CALIBRATION = "calibration"
"""Folder, in the work folder's scratch, of the second pass."""
MOST = 256
"""Training images of each sort, good and defective, that thresholds are set by."""


class ForegroundContext(RunContext):
    """A context that keeps what is reported."""

    def __init__(self, **arguments: Any) -> None:
        """See `RunContext`."""
        super().__init__(**arguments)
        self._artifact, self._folder, self._arguments = self.output, SCORES, arguments
        self._scores: dict[str, np.ndarray] = {}

    def calibrating(self) -> ForegroundContext:
        """The context of the second pass. It keeps image scores alone."""
        output = self.output / SCRATCH / CALIBRATION
        (output / SCRATCH).mkdir(parents=True, exist_ok=True)
        context = ForegroundContext(
            **(self._arguments | {"output": output, "view": calibration_view(self.view)})
        )
        context._artifact, context._folder = self.output, TRAIN_SCORES
        return context

    def shards(self, samples: Sequence[Sample]) -> Iterator[tuple[str, Sequence[Sample]]]:
        for name, shard in super().shards(samples):
            yield name, shard
            self.keep(name)  # before the shard counts as done

    def report_scores(self, sample_id: str, scores: torch.Tensor) -> None:
        foreground = scores[1:].amax(0).float().cpu().numpy()
        self._scores[sample_id] = np.stack([score(foreground[None])[0] for score in IMAGE_SCORES.values()])
        if self._folder == SCORES:
            write_labels(map_path(self._artifact, sample_id), levels_of(foreground), palette=None)

    def training_costs(self) -> dict[str, float]:
        """Also how many images the second pass has taken, so that the stage's seconds are known to be of more."""
        return {**super().training_costs(), "further_images": len(calibration_view(self.view).samples("val"))}

    def keep(self, name: str = "rest") -> None:
        """Write the scores that were reported since the last call, if any."""
        if self._scores:
            folder = self._artifact / self._folder
            folder.mkdir(parents=True, exist_ok=True)
            write_image_scores(folder / f"{name}.safetensors", self._scores)
            self._scores = {}


def run_twice(function: Callable[..., object], context: ForegroundContext, settings: Any) -> None:
    """Run a prediction's stage on the validation images, and on training images that thresholds are set by."""
    for each in (context, context.calibrating()):
        function(each, settings)
        each.keep()


def calibration_view(view: TrainingView) -> TrainingView:
    """A view whose validation images are training images of another: good ones and as many others, evenly spaced."""
    train = view.samples("train")
    sorts = ([s for s in train if not s.labels], [s for s in train if s.labels])
    chosen = [
        sort[i * len(sort) // count]
        for sort in sorts
        for count in [min(len(sort), MOST)]
        for i in range(count)
    ]
    return TrainingView(view.name, view.classes, {"train": (), "val": tuple(chosen)}, view.background)
