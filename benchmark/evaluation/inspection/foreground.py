"""Foreground maps, the highest probability of any object class at each pixel; the scores of images that are made of
them; and how a prediction keeps both for verdicts and AUPRO: the map in 8 bits, the scores as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SCORES, TRAIN_SCORES, _MAPS = "foreground/scores", "foreground/train", "foreground/maps"
"""Folders of the artifact: scores of the images that are scored, and of training images that thresholds are set by."""
OK = "OK"
"""Verdict on an image without a defect, as `predict` writes it."""
LEVELS = 256
_REACH = 12.0
"""Log-odds at which levels end, probabilities of 6e-6 and 1 minus that: a linear scale of 8 bits ends at .002."""
TOP = 0.001
"""Share of an image's pixels that the score `top` is the mean of, its highest; one pixel at least."""

Floats = NDArray[np.floating]


def highest(foreground: Floats) -> Floats:
    """Highest value of each map: (N, H, W) -> (N,); 0 of one without pixels. It is the score of `predict`'s verdicts."""
    return np.asarray(foreground.max((-2, -1), initial=0))


def top_mean(foreground: Floats, share: float = TOP) -> Floats:
    """Mean of each map's highest pixels, `share` of all of them and one at least: (N, H, W) -> (N,)."""
    flat = foreground.reshape(len(foreground), -1)
    if not flat.shape[1]:
        return np.zeros(len(flat))
    count = max(1, round(share * flat.shape[1]))
    return np.asarray(np.partition(flat, -count, axis=1)[:, -count:].mean(1, dtype=np.float64))


IMAGE_SCORES: Mapping[str, Callable[[Floats], Floats]] = {"max": highest, "top": top_mean}
"""Scores of an image by name, in the order in which they are stored."""


def levels_of(foreground: Floats) -> NDArray[np.uint8]:
    """Probabilities in [0, 1] as levels 0..255, at equal steps of their log-odds; in order, as AUPRO needs them."""
    inside = foreground.astype(np.float64).clip(1e-6, 1 - 1e-6)
    steps = (np.log(inside / (1 - inside)) / _REACH + 1) * (LEVELS - 1) / 2
    return steps.round().clip(0, LEVELS - 1).astype(np.uint8)


def map_path(directory: Path, sample_id: str) -> Path:
    """Where an artifact has an image's map, an 8-bit PNG of the levels."""
    return directory / _MAPS / f"{sample_id}.png"
