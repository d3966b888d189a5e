"""Scores of single images, from the counts that an evaluation leaves."""

from __future__ import annotations

import numpy as np

from benchmark.evaluation.counts import Counts
from datasets.base import IGNORE


def image_mean_iou(counts: Counts) -> dict[str, float]:
    """Mean IoU of each image by id, over the classes (with the background) in its truth.

    counts: of label maps; NaN for an image without a scored pixel. These do not average to the board's mIoU, which
    sums all images' counts first; they say which images are easy, hard or disputed.
    """
    if counts.bin is not None:
        raise ValueError("counts of CAMs hold every threshold; per-image scores are made of label maps'")
    classes, images = len(counts.header.naming.classes) + 1, len(counts.images)
    truth = np.where(counts.gt >= classes, 0, counts.gt).astype(np.intp)  # context regions are background
    predicted = np.where(counts.pred == IGNORE, 0, counts.pred).astype(np.intp)

    def pixels(class_of: np.ndarray, weights: np.ndarray) -> np.ndarray:
        index = counts.image.astype(np.intp) * classes + class_of
        return np.bincount(index, weights, images * classes).reshape(images, classes)

    both, true = pixels(truth, counts.count * (truth == predicted)), pixels(truth, counts.count)
    union = true + pixels(predicted, counts.count) - both
    with np.errstate(invalid="ignore"):
        iou = np.divide(both, union, out=np.zeros_like(both), where=true > 0).sum(1) / (true > 0).sum(1)
    return dict(zip(counts.images, iou.tolist()))
