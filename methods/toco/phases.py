"""Phases of DSKD-GC's training, and the momentum of its student's average. Light to import (no torch)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from methods.toco.config import SingleStageTrainingConfig


class Phase(NamedTuple):
    """Iterations from `start` to `stop` - 1; warm_up: the student learns by gradient; segmentation: the decoder."""

    start: int
    stop: int
    warm_up: bool
    segmentation: bool


def phase_borders(settings: SingleStageTrainingConfig) -> tuple[int, int]:
    """Iterations at which the warm-up ends and at which the decoder begins to learn."""
    iterations, shares = settings.train.iterations, settings.phases
    warm_up = round(shares.warm_up * iterations) if settings.distillation is not None else 0
    segmentation = (
        round(shares.segmentation * iterations) if settings.weights.segmentation > 0 else iterations
    )
    return warm_up, segmentation


def phases(settings: SingleStageTrainingConfig) -> list[Phase]:
    """Warm-up, expansion, segmentation: the training's parts that have different parameters to learn."""
    warm_up, segmentation = phase_borders(settings)
    borders = sorted({0, warm_up, segmentation, settings.train.iterations})
    return [Phase(start, stop, start < warm_up, start >= segmentation) for start, stop in pairwise(borders)]


def momentum_at(progress: float, momentum: tuple[float, float]) -> float:
    """Momentum of the average at `progress` in [0, 1]: from the first to the second, by a cosine (DINO)."""
    first, last = momentum
    return last - (last - first) * (1 + math.cos(math.pi * progress)) / 2
