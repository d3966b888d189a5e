"""Scores of the verdicts on a split's images. They need image labels only, no mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.ground_truth import read_label_map
from benchmark.evaluation.inspection.foreground import IMAGE_SCORES, OK, SCORES, TRAIN_SCORES
from benchmark.evaluation.inspection.verdicts import (
    GOOD,
    auroc,
    escapes_at,
    overkill_at,
    rates,
    rates_of,
    verdicts_of,
)
from benchmark.evaluation.parallel import map_in_order
from benchmark.evaluation.scores import MetricRow
from datasets.base import Dataset
from methods.artifacts import label_map_path, read_image_scores

GIVEN = (0.01, 0.05, 0.1)
"""Overkill rates at which the escape rate is taken, and the reverse."""
CALIBRATED = 0.05
"""Highest overkill rate on training images of the threshold that is set by their labels."""


def verdict_rows(
    artifact_dir: Path,
    dataset: Dataset,
    ids: Sequence[str],
    row: Callable[..., MetricRow],
    workers: int | None = None,
) -> Iterator[MetricRow]:
    """Verdicts by label maps, and by the scores that the artifact keeps of images, where it keeps any.

    row: makes a row, as in `scores.metric_rows`. Raises DataError on a missing label map.
    """
    classes = len(dataset.classes)

    def verdict(sample_id: str) -> int:
        labels = read_label_map(label_map_path(artifact_dir, sample_id), "label map", classes)
        return int(verdicts_of(labels[None], classes)[0])

    said = np.fromiter(map_in_order(verdict, ids, workers), np.intp, len(ids))
    labels = [dataset.sample(i).labels for i in ids]
    yield from _of_label_maps(said, labels, dataset.classes, row)
    found = read_image_scores(artifact_dir / SCORES)
    if ids and all(i in found for i in ids):
        known = read_image_scores(artifact_dir / TRAIN_SCORES)
        yield from _of_scores(
            np.stack([found[i] for i in ids]),
            _defective(labels),
            np.stack([*known.values()]) if known else np.zeros((0, len(IMAGE_SCORES)), np.float32),
            _defective([dataset.sample(i).labels for i in known]),
            row,
        )


def _of_label_maps(
    said: NDArray[np.intp],
    labels: Sequence[tuple[int, ...]],
    classes: Sequence[str],
    row: Callable[..., MetricRow],
) -> Iterator[MetricRow]:
    """Rates of escapes and overkill, escapes of each type of defect, and which type is taken for which.

    An image of several types is of the one that is said, if that is among them, else of the first.
    """
    defective = _defective(labels)
    overkill, escapes = rates_of(said != GOOD, defective)
    good = len(labels) - int(defective.sum())
    if good:
        yield row("overkill", overkill, images=good)
    if good < len(labels):
        yield row("escapes", escapes, images=len(labels) - good)
    for class_id, name in enumerate(classes, 1):
        of = np.array([class_id - 1 in present for present in labels])
        if of.any():
            yield row("escapes", float((said[of] == GOOD).mean()), class_name=name, images=int(of.sum()))
    names = (OK, *classes)
    trues = [true_type(present, verdict) for present, verdict in zip(labels, said.tolist())]
    pairs, of_type = Counter(zip(trues, said.tolist())), Counter(trues)
    for true, verdict in product(sorted(of_type), range(len(names))):
        share, pair = pairs[true, verdict] / of_type[true], f"{names[true]}|{names[verdict]}"
        yield row("verdicts", share, class_name=pair, images=of_type[true])


def true_type(labels: tuple[int, ...], verdict: int) -> int:
    """Class id that a verdict on an image with these labels is held against, `GOOD` where it has none."""
    ids = [label + 1 for label in labels]
    return verdict if verdict in ids else next(iter(ids), GOOD)


def _of_scores(
    scores: NDArray[np.float32],
    defective: NDArray[np.bool_],
    known: NDArray[np.float32],
    known_defective: NDArray[np.bool_],
    row: Callable[..., MetricRow],
) -> Iterator[MetricRow]:
    """scores, known: (N, S), (M, S) by image and `IMAGE_SCORES`, of the scored images and of training images."""
    for name, own, of_known in zip(IMAGE_SCORES, scores.T, known.T):
        if (curve := rates(own, defective)) is None:
            continue
        yield row("image_auroc", auroc(own, defective), class_name=name)
        for metric, at in (("escapes_at_overkill", escapes_at), ("overkill_at_escapes", overkill_at)):
            for given in GIVEN:
                value, threshold = at(given, curve)
                yield row(metric, value, class_name=f"{name}|{given:g}", threshold=threshold)
        if (trained := rates(of_known, known_defective)) is not None:
            _, threshold = escapes_at(CALIBRATED, trained)
            overkill, escapes = rates_of(own >= threshold, defective)
            yield row("overkill_calibrated", overkill, class_name=name, threshold=threshold)
            yield row("escapes_calibrated", escapes, class_name=name, threshold=threshold)


def _defective(labels: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    return np.array([bool(present) for present in labels], np.bool_)
