"""Scores of class activation maps at every background threshold, from one pass over the pixels.

A pixel's prediction is its highest map's class where that score is above the threshold t, and background
where score <= t. So it depends on t only through the number of thresholds below the score: its *bin*. Counts
of (ground truth, highest class, bin) give the confusion matrix at every threshold as a cumulative sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from methods.artifacts import Cam

CELLS = 1 << 14
"""Cells of [0, 1] in the look-up table of bins; a power of two, so that scaling a float32 by it is exact."""


def threshold_grid(step: float, *extra: float) -> np.ndarray:
    """Thresholds 0, step, 2 step, ... up to 1 and the extra ones, ascending, float32 as scores are."""
    grid = np.round(np.arange(round(1 / step) + 1) * step, 10)
    return np.unique(np.append(grid, extra).astype(np.float32))


class ThresholdBins:
    """Number of thresholds strictly below a score, exactly; a table look-up, faster than a binary search."""

    def __init__(self, thresholds: np.ndarray) -> None:
        """thresholds: (T,) float32, ascending"""
        self.thresholds = thresholds
        edges = (np.arange(CELLS + 2) / CELLS).astype(np.float32)
        below = np.searchsorted(thresholds, edges, side="left")
        # a cell [a, b) with a threshold inside does not settle its scores' bin: marked -1
        self._table = np.where(below[1:] == below[:-1], below[:-1], -1).astype(np.int16)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """(P,) float32 in [0, 1] -> (P,) int16 in 0..T"""
        bins = self._table.take((scores * np.float32(CELLS)).astype(np.intp), mode="clip")
        open_cells = np.flatnonzero(bins < 0)
        bins[open_cells] = np.searchsorted(self.thresholds, scores[open_cells], side="left")
        return bins


class CamCounts(NamedTuple):
    """Sparse counts of one image, four equally long arrays.

    gt: ground truth id; pred: id of the highest class (0 where no threshold is below the score);
    bin: number of thresholds below the score, 0..T; pixels: how many
    """

    gt: np.ndarray
    pred: np.ndarray
    bin: np.ndarray
    pixels: np.ndarray


def highest_class(cam: Cam) -> tuple[np.ndarray, np.ndarray]:
    """Score of the highest map and its position k at every pixel of the image; the first of equals.

    Maps are upsampled bilinearly (align_corners=False) to the image's size. Without maps, both are 0.
    returns: (H, W) float32 and (H, W) uint8
    """
    if not cam.classes:
        return np.zeros(cam.size, np.float32), np.zeros(cam.size, np.uint8)
    maps = torch.from_numpy(np.ascontiguousarray(cam.maps, np.float32))[None]
    upsampled = F.interpolate(maps, size=cam.size, mode="bilinear", align_corners=False)[0].numpy()
    score, winner = upsampled[0].copy(), np.zeros(cam.size, np.uint8)
    for k in range(1, len(upsampled)):
        np.putmask(winner, upsampled[k] > score, np.uint8(k))
        np.maximum(score, upsampled[k], out=score)
    return score, winner


def label_map(highest: tuple[np.ndarray, np.ndarray], classes: Sequence[int], threshold: float) -> np.ndarray:
    """(H, W) uint8: the highest map's class (from 1) where its score is above the threshold, 0 elsewhere.

    highest: of `highest_class`; classes: the maps' object classes, from 0; threshold: compared as float32
    """
    score, winner = highest
    ids = np.array([c + 1 for c in classes] or [0], np.uint8)
    return np.where(score > np.float32(threshold), ids.take(winner), np.uint8(0))


def cam_counts(
    cam: Cam,
    ground_truth: np.ndarray,
    bins: ThresholdBins,
    highest: tuple[np.ndarray, np.ndarray] | None = None,
) -> CamCounts:
    """Count (ground truth, highest class, bin) over the pixels of one image.

    ground_truth: (H, W) uint8 of the image's size, extended or not; 255 is not counted
    highest: `highest_class` of the CAM, where it is known already
    """
    if not cam.classes:
        truths = np.bincount(ground_truth.reshape(-1), minlength=256)[:255]
        gt = np.flatnonzero(truths)
        return CamCounts(gt, np.zeros_like(gt), np.zeros_like(gt), truths[gt])
    score, winner = highest or highest_class(cam)
    shape = (len(cam.classes), 256, len(bins.thresholds) + 1)
    code = winner.astype(np.int32)
    code *= shape[1]
    code += ground_truth
    code *= shape[2]
    code += bins(score.reshape(-1)).reshape(code.shape)
    # torch's bincount takes int32 as it is and lets other threads run; NumPy's does neither
    counts = torch.bincount(torch.from_numpy(code).view(-1), minlength=int(np.prod(shape))).numpy()
    counts = counts.reshape(shape)[:, :255]
    # below every threshold the class is irrelevant: one row instead of one per class
    background = counts[..., 0].sum(0)
    k, gt, bin_ = np.nonzero(counts[..., 1:])
    empty = np.flatnonzero(background)
    zeros = np.zeros_like(empty)
    return CamCounts(
        np.append(empty, gt),
        np.append(zeros, np.asarray(cam.classes)[k] + 1),
        np.append(zeros, bin_ + 1),
        np.append(background[empty], counts[k, gt, bin_ + 1]),
    )


def matrices_at_thresholds(histogram: np.ndarray) -> np.ndarray:
    """Confusion matrices at all T thresholds.

    histogram: (G, P, T + 1) counts by ground truth, highest class and bin
    returns:   (T, G, P) int64; at threshold j pixels of bins above j keep their class, others are background
    """
    matrices = counts_above(histogram)
    matrices[..., 0] = histogram.sum((1, 2)) - matrices[..., 1:].sum(-1)
    return matrices


def counts_above(histogram: np.ndarray) -> np.ndarray:
    """Counts by bin, (..., T + 1), -> (T, ...): at threshold j those of the bins above j."""
    above = histogram[..., ::-1].cumsum(-1)[..., ::-1][..., 1:]
    return np.moveaxis(above, -1, 0).copy()
