"""Accuracy of an image classifier: average precision of every class over the images of a split."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from benchmark.evaluation.evaluator import Scores
from benchmark.evaluation.scores import NAN, MetricRow
from datasets.base import DataError, Dataset
from methods.artifacts import read_image_scores


def score_classifications(artifact_dir: Path, dataset: Dataset, split: str, *, stage: str) -> Scores:
    """Score an IMAGE_SCORES artifact against image-level labels; no mask is needed or opened.

    Raises DataError on images that have no scores, on another number of classes, and on NaN.
    """
    ids, found = dataset.ids(split), read_image_scores(artifact_dir)
    again = "run the stage that wrote it again"
    if missing := [i for i in ids if i not in found]:
        raise DataError(
            f"image scores {artifact_dir} lack {len(missing)} of {len(ids)} images, {missing[0]} first; {again}"
        )
    classes = len(dataset.classes)
    if wrong := [i for i in ids if found[i].shape != (classes,) or not np.isfinite(found[i]).all()]:
        raise DataError(
            f"image scores {artifact_dir}: those of {wrong[0]} are not {classes} finite numbers; {again}"
        )
    if not ids:
        return Scores([], ["no images"])
    labels = np.zeros((len(ids), classes), np.bool_)
    for present, sample_id in zip(labels, ids):
        present[list(dataset.sample(sample_id).labels)] = True
    values = average_precisions(np.stack([found[i] for i in ids]), labels)
    row = partial(MetricRow, stage, "", split, images=len(ids))
    mean = float(np.nanmean(values)) if np.isfinite(values).any() else NAN
    rows = [row("mean_average_precision", mean)]
    rows += [row("average_precision", float(v), class_name=name) for name, v in zip(dataset.classes, values)]
    absent = ", ".join(name for name, v in zip(dataset.classes, values) if np.isnan(v))
    notes = [f"in no image of {split}, left out of the mean: {absent}"] if absent else []
    return Scores(rows, notes, len(ids))


def average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class: precision at the rank of each image that has it, averaged; not interpolated.

    Images of equal score share a rank, the last that any of them would have.
    scores: (N, C), the higher the likelier; labels: (N, C) bool; returns (C,), NaN for a class in no image
    """
    return np.array(
        [
            average_precision_score(present, of_class) if present.any() else NAN
            for of_class, present in zip(scores.T, labels.T)
        ]
    )
