"""Scores from confusion matrices that are summed over images first, as the field's mIoU is.

(torchmetrics' `segmentation.MeanIoU` averages per image and is another number.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.evaluation.confusion import context_regions, merge_context
from datasets.base import ContextClass

NAN = float("nan")


@dataclass(frozen=True)
class MetricRow:
    """One number, in the columns of `results.schema.Record` that the evaluator knows."""

    stage: str
    variant: str
    split: str
    metric: str
    value: float
    class_name: str = ""
    threshold: float = NAN
    images: int = 0


@dataclass(frozen=True)
class Naming:
    """Names behind the rows of an extended matrix."""

    background: str
    classes: tuple[str, ...]
    contexts: tuple[ContextClass, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.background, *self.classes)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, NaN where the denominator is 0."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


def _diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union per class: (..., C, C) -> (..., C); NaN for a class absent from the ground truth.

    Such a class cannot be found. As 0, a single pixel that is wrongly predicted as it would cost as much as a whole
    class that is missed; `false_alarms` counts these pixels, and they cost the classes that they are taken from.
    """
    intersection, truth = _diagonal(matrix), matrix.sum(-1)
    return _ratio(intersection, np.where(truth > 0, truth + matrix.sum(-2) - intersection, 0))


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Mean of `class_iou` over the classes of the ground truth, the same for all predictions: (..., C, C) -> (...)."""
    iou = class_iou(matrix)
    return _ratio(np.nansum(iou, -1), np.sum(~np.isnan(iou), -1))


def precision(matrix: np.ndarray) -> np.ndarray:
    """Share of the pixels predicted as a class that are of it: (..., C, C) -> (..., C); NaN if none is."""
    return _ratio(_diagonal(matrix), matrix.sum(-2))


def recall(matrix: np.ndarray) -> np.ndarray:
    """Share of a class's pixels predicted as it: (..., C, C) -> (..., C); NaN for a class without pixels."""
    return _ratio(_diagonal(matrix), matrix.sum(-1))


def pixel_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Share of pixels predicted right: (..., C, C) -> (...)."""
    return _ratio(_diagonal(matrix).sum(-1), matrix.sum((-2, -1)))


def confusion_ratios(
    extended: np.ndarray, contexts: Sequence[ContextClass], classes: int, found: np.ndarray | None = None
) -> np.ndarray:
    """m_{k,c} = FP_{k,c} / TP_c (EPS, Tab. 2): pixels of context region k predicted as its object class c,
    over the pixels of c predicted right. NaN where none is: the ratio is unbounded or undefined there.

    extended: (..., C + 1 + J, C + 1); classes: C
    found:    (..., C + 1) pixels of each class predicted right in the images whose context is labelled; None: all are
    returns:  (..., J)
    """
    rows = [classes + 1 + region for region in context_regions(contexts)]
    columns = [context.object_class + 1 for context in contexts]
    found = _diagonal(extended[..., : classes + 1, :]) if found is None else found
    return _ratio(extended[..., rows, columns], found[..., columns])


def absent_classes(matrix: np.ndarray, labels: Sequence[str]) -> tuple[str, ...]:
    """Classes that the ground truth of a (C, C) matrix lacks, which the mIoU leaves out."""
    return tuple(label for label, pixels in zip(labels, matrix.sum(-1)) if not pixels)


def false_alarms(matrix: np.ndarray) -> np.ndarray:
    """Share of pixels that are predicted as classes absent from the ground truth: (..., C, C) -> (...)."""
    absent = np.where(matrix.sum(-1) > 0, 0, matrix.sum(-2))
    return _ratio(absent.sum(-1), matrix.sum((-2, -1)))


def metric_rows(
    extended: np.ndarray, naming: Naming, row: Callable[..., MetricRow], found: np.ndarray | None = None
) -> list[MetricRow]:
    """All scores of one summed matrix, (C + 1 + J, C + 1).

    row: makes a row of (metric, value, class_name=...): a `MetricRow` with its other columns filled in
    found: of `confusion_ratios`
    """
    matrix = merge_context(extended, len(naming.classes))
    rows = [row("miou", float(mean_iou(matrix))), row("pixel_accuracy", float(pixel_accuracy(matrix)))]
    for metric, score in (("iou", class_iou), ("precision", precision), ("recall", recall)):
        rows += [
            row(metric, float(value), class_name=label) for label, value in zip(naming.labels, score(matrix))
        ]
    if absent_classes(matrix, naming.labels):
        rows.append(row("false_alarms", float(false_alarms(matrix))))
    ratios = confusion_ratios(extended, naming.contexts, len(naming.classes), found)
    rows += [
        row(
            "confusion_ratio",
            float(ratio),
            class_name=f"{naming.classes[context.object_class]}|{context.name}",
        )
        for context, ratio in zip(naming.contexts, ratios)
    ]
    return rows
