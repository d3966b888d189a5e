"""Phases of a single-stage training, and the momentum of its student's average. Light to import (no torch)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from methods.toco.config import SingleStageTrainingConfig


class Phase(NamedTuple):
    """Iterations from `start` to `stop` - 1.

    warm_up: the student learns by gradient; segmentation: the decoder learns
    contrast: tokens are contrasted; auxiliary_labels: the decoder's labels are of the auxiliary layer's CAM
    """

    start: int
    stop: int
    warm_up: bool
    segmentation: bool
    contrast: bool = True
    auxiliary_labels: bool = False


def phase_borders(settings: SingleStageTrainingConfig) -> tuple[int, int]:
    """Iterations at which the warm-up ends and at which the decoder begins to learn."""
    iterations, shares = settings.train.iterations, settings.phases
    warm_up = round(shares.warm_up * iterations) if settings.distillation is not None else 0
    segmentation = (
        round(shares.segmentation * iterations) if settings.weights.segmentation > 0 else iterations
    )
    return warm_up, segmentation


def phases(settings: SingleStageTrainingConfig) -> list[Phase]:
    """Warm-up, expansion, segmentation: the training's parts that have different parameters to learn, or labels."""
    iterations, weights = settings.train.iterations, settings.weights
    warm_up, segmentation = phase_borders(settings)
    contrasted = weights.patch_contrast > 0 or weights.class_contrast > 0
    contrast = round(settings.phases.contrast * iterations) if contrasted else 0
    auxiliary = round(settings.phases.auxiliary_labels * iterations) if weights.segmentation > 0 else 0
    borders = sorted({0, warm_up, segmentation, contrast, auxiliary, iterations})
    return [
        Phase(start, stop, start < warm_up, start >= segmentation, start >= contrast, start < auxiliary)
        for start, stop in pairwise(borders)
    ]


def momentum_at(progress: float, momentum: tuple[float, float]) -> float:
    """Momentum of the average at `progress` in [0, 1]: from the first to the second, by a cosine (DINO)."""
    first, last = momentum
    return last - (last - first) * (1 + math.cos(math.pi * progress)) / 2
