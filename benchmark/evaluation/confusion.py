"""Confusion counts of label maps, per image, and context regions as extra rows of ground truth.

Ids: 0 background, 1..C the C object classes, 255 ignored. Ground truth may be *extended*: background pixels
in the region of the j-th `ContextClass` carry C + 1 + j, so that one count serves the ordinary matrix
(context rows merged into the background's) and the confusion with context (EPS, Tab. 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.base import IGNORE, ContextClass

DENSE_SHARE = 0.25
"""Share of pixels unlike their left neighbour above which counting runs is slower than counting pixels."""


def pair_counts(
    ground_truth: np.ndarray, prediction: np.ndarray, gt_classes: int, pred_classes: int
) -> np.ndarray:
    """Count (ground truth, prediction) pairs in each image of a batch.

    ground_truth: (N, ...) uint8, 0..gt_classes - 1, or 255: not counted
    prediction:   (N, ...) uint8, 0..pred_classes - 1, or 255
    returns:      (N, gt_classes, pred_classes + 1) int64; the last column counts predicted 255
    Raises ValueError on shapes that differ and on other ids.

    Label maps are piecewise constant, so runs of equal pairs are counted instead of pixels: about 1 % as
    many, and no two increments in a row wait for the same counter.
    """
    if ground_truth.shape != prediction.shape:
        raise ValueError(
            f"ground truth {ground_truth.shape} and prediction {prediction.shape} differ in shape"
        )
    images, pairs = len(ground_truth), (gt_classes + 1) * (pred_classes + 1)
    if ground_truth.size == 0:
        return np.zeros((images, gt_classes, pred_classes + 1), np.int64)
    # ids plus one: 8 bits wrap 255 round to 0, the other ids follow
    truth, predicted = ground_truth + np.uint8(1), prediction + np.uint8(1)
    _require_at_most(truth, gt_classes, "ground truth")
    _require_at_most(predicted, pred_classes, "prediction")
    code = truth.reshape(images, -1).astype(np.uint16)
    code *= np.uint16(pred_classes + 1)
    code += predicted.reshape(images, -1)
    starts = np.ones(code.shape, np.bool_)
    np.not_equal(code[:, 1:], code[:, :-1], out=starts[:, 1:])
    if np.count_nonzero(starts) > DENSE_SHARE * starts.size:
        counts = np.stack([np.bincount(image, minlength=pairs) for image in code])
    else:
        first = np.flatnonzero(starts)
        lengths = np.diff(first, append=starts.size)
        image = first // code.shape[1]
        # float64 sums of pixel numbers are exact below 2^53
        summed = np.bincount(image * pairs + code.reshape(-1)[first], lengths, images * pairs)
        counts = summed.astype(np.int64)
    counts = counts.reshape(images, gt_classes + 1, pred_classes + 1)
    return np.roll(counts[:, 1:], -1, axis=2)


def fold_ignored(counts: np.ndarray) -> np.ndarray:
    """Count predicted 255 as background: (..., G, P + 1) -> (..., G, P)."""
    folded = counts[..., :-1].copy()
    folded[..., 0] += counts[..., -1]
    return folded


def context_regions(contexts: Sequence[ContextClass]) -> list[int]:
    """For each context class, the index j of its region: the first class's that has the same pixel value."""
    values = [context.value for context in contexts]
    return [values.index(value) for value in values]


def extend_with_context(
    mask: np.ndarray, context_map: np.ndarray, contexts: Sequence[ContextClass], classes: int
) -> np.ndarray:
    """Give the mask's background pixels in context region j the id classes + 1 + j.

    mask: (H, W) uint8; context_map: (H, W) uint8 or uint16; classes: number of object classes. Values of the map
    that no context class declares leave the pixel background.
    """
    if classes + len(contexts) >= IGNORE:
        raise ValueError(f"{classes} classes and {len(contexts)} contexts do not fit 8 bits")
    table = np.zeros(1 + np.iinfo(context_map.dtype).max, np.uint8)
    for context, region in zip(contexts, context_regions(contexts)):
        table[context.value] = classes + 1 + region
    return np.where(mask == 0, table.take(context_map), mask)


def merge_context(matrix: np.ndarray, classes: int) -> np.ndarray:
    """Add the context rows to the background's: (..., C + 1 + J, P) -> (..., C + 1, P); classes: C."""
    merged = matrix[..., : classes + 1, :].copy()
    merged[..., 0, :] += matrix[..., classes + 1 :, :].sum(-2)
    return merged


def _require_at_most(shifted: np.ndarray, classes: int, name: str) -> None:
    if (found := int(shifted.max())) > classes:
        raise ValueError(f"id {found - 1} in the {name} is not in 0..{classes - 1} and not {IGNORE}")
