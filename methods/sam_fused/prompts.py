"""SAM's prompts from a CAM: the peaks of its confident regions, and points of the confident background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from methods.layers.sam.model import NEGATIVE, NO_POINT, POSITIVE
from methods.sam_fused.config import PromptConfig


class Prompts(NamedTuple):
    """points: (P, N, 2) float32, x and y of pixels; labels: (P, N) int64: POSITIVE, NEGATIVE or NO_POINT."""

    points: torch.Tensor
    labels: torch.Tensor


def cam_prompts(maps: NDArray[np.float32], config: PromptConfig, seed: int) -> Prompts:
    """One prompt for each class of an image.

    maps: (P, H, W) in [0, 1], the CAMs of the P present classes at the image's size
    seed: of the choice among the background's pixels

    A class is confident where its CAM is the highest and at least `config.foreground`. The highest pixel of each
    connected region is a positive point, those with the highest CAM first. A class without such a region has no
    positive point. Negative points are random pixels where every CAM is below `config.background`; all classes of
    the image share them.
    """
    winner = maps.argmax(0)
    negatives = _background(maps.max(0), config, np.random.default_rng(seed))
    prompts = np.zeros((len(maps), config.positives + config.negatives, 2), np.float32)
    labels = np.full(prompts.shape[:2], NO_POINT, np.int64)
    for row, own in enumerate(maps):
        peaks = _peaks(own, (winner == row) & (own >= config.foreground), config)
        prompts[row, : len(peaks)], labels[row, : len(peaks)] = peaks, POSITIVE
        after = slice(config.positives, config.positives + len(negatives))
        prompts[row, after], labels[row, after] = negatives, NEGATIVE
    return Prompts(torch.from_numpy(prompts), torch.from_numpy(labels))


def _peaks(
    own: NDArray[np.float32], confident: NDArray[np.bool_], config: PromptConfig
) -> NDArray[np.float32]:
    """(n, 2) x and y of the highest pixel of each connected region, at most `config.positives`, highest first."""
    regions, count = ndimage.label(confident)
    if not count:
        return np.zeros((0, 2), np.float32)
    numbers = np.arange(1, count + 1)
    areas = ndimage.sum_labels(confident, regions, numbers)
    numbers = numbers[areas >= config.smallest_region * areas.max()]
    places = np.asarray(ndimage.maximum_position(own, regions, numbers))
    heights = own[places[:, 0], places[:, 1]]
    best = np.argsort(-heights, kind="stable")[: config.positives]
    return places[best][:, ::-1].astype(np.float32)


def _background(
    confidence: NDArray[np.float32], config: PromptConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """(n, 2) x and y of random pixels of the confident background, at most `config.negatives`."""
    y, x = np.nonzero(confidence < config.background)
    chosen = random.permutation(len(x))[: config.negatives]
    return np.stack([x[chosen], y[chosen]], axis=1).astype(np.float32)


def padded(prompts: Sequence[Prompts]) -> Prompts:
    """Prompts of several images, with their numbers of classes made equal: points (B, P, N, 2), labels (B, P, N)."""
    most = max(len(p.labels) for p in prompts)
    points = [torch.nn.functional.pad(p.points, (0, 0, 0, 0, 0, most - len(p.points))) for p in prompts]
    labels = [
        torch.nn.functional.pad(p.labels, (0, 0, 0, most - len(p.labels)), value=NO_POINT) for p in prompts
    ]
    return Prompts(torch.stack(points), torch.stack(labels))
