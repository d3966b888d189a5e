"""Reference rows of the leaderboard: predictions that need no picture, scored by the same confusion arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmark.evaluation.evaluator import Scores, scored_ids
from benchmark.evaluation.ground_truth import GroundTruth
from benchmark.evaluation.parallel import map_in_order
from benchmark.evaluation.scores import MetricRow, metric_rows
from datasets.base import Dataset

ALL_BACKGROUND = "reference/all-background"
IMAGE_LABEL_ONLY = "reference/image-label-only"


def reference_rows(
    dataset: Dataset,
    split: str,
    *,
    stage: str,
    ids: Sequence[str] | None = None,
    workers: int | None = None,
) -> dict[str, Scores]:
    """Scores of two constant predictions, by reference name.

    all-background:   every pixel is background
    image-label-only: every pixel gets an image-level label of its image; of several, the one that the fewest
                      scored images carry, the lower index of equals; background where there is none
    Raises DataError on bad masks. No counts file is written.
    """
    truth = GroundTruth(dataset)
    scored, notes = scored_ids(truth, split, ids)
    labels = [dataset.sample(i).labels for i in scored]
    images_with = Counter(label for present in labels for label in set(present))
    rarest = [min(present, key=lambda c: (images_with[c], c)) + 1 if present else 0 for present in labels]

    def ground_truth_pixels(sample_id: str) -> np.ndarray:
        return np.bincount(truth.read(sample_id).reshape(-1), minlength=256)[: truth.gt_classes]

    matrices = {
        name: np.zeros((truth.gt_classes, truth.pred_classes), np.int64)
        for name in (ALL_BACKGROUND, IMAGE_LABEL_ONLY)
    }
    for prediction, pixels in zip(rarest, map_in_order(ground_truth_pixels, scored, workers)):
        matrices[ALL_BACKGROUND][:, 0] += pixels
        matrices[IMAGE_LABEL_ONLY][:, prediction] += pixels
    if not scored:
        return {name: Scores([], list(notes)) for name in matrices}
    return {
        name: Scores(
            metric_rows(matrix, truth.naming, partial(MetricRow, stage, "", split, images=len(scored))),
            list(notes),
            len(scored),
        )
        for name, matrix in matrices.items()
    }
