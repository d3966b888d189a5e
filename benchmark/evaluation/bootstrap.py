"""Bootstrap over images: scores of resampled image sets from stored per-image counts, without the maps.

A resample draws as many images as there are, with replacement, and every image counts as often as it was drawn.
The draws depend on the image ids alone, so that resample b is the same set of images for every method and seed:
differences between methods are paired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from benchmark.evaluation.counts import Counts
from benchmark.evaluation.evaluator import held_out_ids
from datasets.base import IGNORE
from results.resamples import Resamples, resampled_from, store_resamples

RESAMPLES = 1000
_CHUNK = 100
"""Resamples drawn at once: 64 MB of weights for 80 000 images."""


def write_resamples(
    run_dir: Path,
    key: str,
    score_key: str,
    counts_path: Path,
    rows: Sequence[Mapping[str, Any]],
    held_out: float,
) -> None:
    """Resample every variant of a scored artifact into the run folder, where that has not been done.

    key, score_key: of the artifact and of its scores; rows: its metric rows; held_out: `evaluation.held_out`
    The tuned variant is resampled from the images its threshold was not tuned on. A threshold stays as it was
    chosen, the oracle too: choosing it again would compare other CAMs.
    """
    chosen = {r["variant"]: r["threshold"] for r in rows if r["metric"] == "miou" and r["variant"] != "curve"}
    missing = [v for v in chosen if resampled_from(run_dir, key, v) != score_key]
    if not missing:
        return
    counts = Counts.read(counts_path)
    for variant in missing:
        left_out = held_out_ids(counts.images, held_out) if variant == "tuned" else frozenset()
        threshold = None if counts.bin is None else chosen[variant]
        store_resamples(run_dir, key, variant, resample(counts, threshold, left_out), score_key)


def resample(
    counts: Counts, threshold: float | None = None, left_out: frozenset[str] = frozenset()
) -> Resamples:
    """Scores of `RESAMPLES` bootstrap samples of the images not in `left_out`.

    threshold: of CAM counts, one of the stored ones; None for label maps
    """
    ids = sorted(set(counts.images) - left_out)
    position = {image: i for i, image in enumerate(ids)}
    column = np.array([position.get(image, -1) for image in counts.images])[counts.image]
    labels = counts.header.naming.labels
    by_image = []
    for classes, counted in _class_sums(counts, threshold):
        rows = counted & (column >= 0)
        entries = (counts.count[rows].astype(np.float64), (classes[rows], column[rows]))
        by_image.append(scipy.sparse.csr_array(entries, shape=(len(labels), len(ids))))
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    generator = np.random.default_rng(int(digest[:16], 16))
    parts = []
    for _ in range(RESAMPLES // _CHUNK):
        weights = draw(generator, len(ids), _CHUNK)
        intersection, truth, predicted = (matrix @ weights for matrix in by_image)  # (C + 1, chunk) each
        union = truth + predicted - intersection
        iou = np.full_like(union, np.nan)
        parts.append(np.divide(intersection, union, out=iou, where=union > 0).T)
    iou = np.concatenate(parts)
    return Resamples(np.nanmean(iou, axis=1), iou, labels, digest[:24])


def draw(generator: np.random.Generator, images: int, resamples: int) -> np.ndarray:
    """How often each image is drawn, (images, resamples) float64; a column is one multinomial draw."""
    chosen = generator.integers(images, size=(resamples, images))
    chosen += images * np.arange(resamples)[:, None]
    drawn = np.bincount(chosen.reshape(-1), minlength=resamples * images)
    return drawn.reshape(resamples, images).T.astype(np.float64)


def _class_sums(counts: Counts, threshold: float | None) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """For intersection, ground truth and prediction: the class of each row of the counts, and which rows count."""
    objects = len(counts.header.naming.classes)
    truth = np.where(counts.gt > objects, 0, counts.gt).astype(np.intp)  # context regions are background
    predicted = np.where(counts.pred == IGNORE, 0, counts.pred).astype(np.intp)
    if counts.bin is not None:
        grid = np.asarray(counts.header.thresholds, np.float32)
        above = counts.bin > np.searchsorted(grid, np.float32(threshold))
        predicted = np.where(above, predicted, 0)
    everything = np.ones(len(truth), np.bool_)
    return (truth, truth == predicted), (truth, everything), (predicted, everything)
