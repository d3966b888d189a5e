"""Bootstrap over images: scores of resampled image sets from stored per-image counts, without the maps.

A resample draws as many images as there are, with replacement, and every image counts as often as it was drawn.
The draws depend on the image ids alone, so that resample b is the same set of images for every method and seed:
differences between methods are paired. A score that rests on few images varies too little among resamples of them, so
that resamples are moved away from it (`widened`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from benchmark.evaluation.confusion import context_regions
from benchmark.evaluation.counts import Counts
from benchmark.evaluation.evaluator import held_out_ids
from datasets.base import IGNORE
from results.resamples import Resamples, is_resampled, resamples_path, store_resamples

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
    data: str,
) -> None:
    """Resample every variant of a scored artifact into the run folder, where that has not been done.

    key, score_key: of the artifact and of its scores; rows: its metric rows; held_out: `evaluation.held_out`
    data: `results.changes.data_changes` of its records
    The tuned variant is resampled from the images its threshold was not tuned on. No threshold is
    chosen again, not even the oracle's: other CAMs would be compared. Confusion with context is resampled only where
    all images have context labels, since the counts do not say which images have them.
    """
    chosen = {r["variant"]: r["threshold"] for r in rows if r["metric"] == "miou" and r["variant"] != "curve"}
    paths = {variant: resamples_path(run_dir, key, variant, data) for variant in chosen}
    missing = [variant for variant, path in paths.items() if not is_resampled(path, score_key)]
    if not missing:
        return
    counts = Counts.read(counts_path)
    for variant in missing:
        left_out = held_out_ids(counts.images, held_out) if variant == "tuned" else frozenset()
        threshold = None if counts.bin is None else chosen[variant]
        ratios = {
            r["class_name"]: r["value"]
            for r in rows
            if (r["metric"], r["variant"]) == ("confusion_ratio", variant)
        }
        made = resample(counts, threshold, left_out, ratios)
        store_resamples(paths[variant], made, score_key)


def resample(
    counts: Counts,
    threshold: float | None = None,
    left_out: frozenset[str] = frozenset(),
    ratios: Mapping[str, float] | None = None,
) -> Resamples:
    """Scores of `RESAMPLES` bootstrap samples of the images not in `left_out`.

    threshold: of CAM counts, one of the stored ones; None for label maps
    ratios: confusion ratios among the scores. One that these counts do not give was made of other images, and is
            not resampled. None: all are resampled
    """
    ids = sorted(set(counts.images) - left_out)
    position = {image: i for i, image in enumerate(ids)}
    column = np.array([position.get(image, -1) for image in counts.images])[counts.image]
    naming = counts.header.naming

    def by_image(groups: np.ndarray, counted: np.ndarray, size: int) -> scipy.sparse.csr_array:
        """Pixels by group and image, (size, images)."""
        rows = counted & (column >= 0)
        entries = (counts.count[rows].astype(np.float64), (groups[rows], column[rows]))
        return scipy.sparse.csr_array(entries, shape=(size, len(ids)))

    truth, predicted = true_and_predicted(counts, threshold)
    everything = np.ones(len(truth), np.bool_)
    hits = by_image(truth, truth == predicted, len(naming.labels))
    truths = by_image(truth, everything, len(naming.labels))
    predictions = by_image(predicted, everything, len(naming.labels))
    objects = [context.object_class + 1 for context in naming.contexts]
    regions = [len(naming.classes) + 1 + region for region in context_regions(naming.contexts)]
    false = [
        by_image(np.zeros_like(truth), (counts.gt == region) & (predicted == of), 1)
        for region, of in zip(regions, objects)
    ]

    def confusion(weights: np.ndarray, intersection: np.ndarray) -> np.ndarray:
        """FP/TP by context, (J, R); weights: (images, R); intersection: (C + 1, R) of them."""
        wrong = np.concatenate([of_pair @ weights for of_pair in false])
        found = intersection[objects]
        return np.divide(wrong, found, out=np.full_like(wrong, np.nan), where=found > 0)

    pairs = [f"{naming.classes[context.object_class]}|{context.name}" for context in naming.contexts]
    kept = list(range(len(pairs)))
    if pairs and ratios is not None:
        once = np.ones((len(ids), 1))
        own = confusion(once, hits @ once)[:, 0]
        kept = [j for j in kept if np.isclose(own[j], ratios.get(pairs[j], np.nan), rtol=1e-9)]
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    generator = np.random.default_rng(int(digest[:16], 16))

    def scores(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """IoU by class, accuracy and confusion ratios, (R, ...) each; weights: (images, R)"""
        intersection, true, found = (of @ weights for of in (hits, truths, predictions))  # (C + 1, R) each
        union = true + found - intersection
        iou = np.divide(intersection, union, out=np.full_like(union, np.nan), where=true > 0)
        pixels = true.sum(0)
        right = intersection.sum(0)
        accuracy = np.divide(right, pixels, out=np.full_like(right, np.nan), where=pixels > 0)
        ratio = confusion(weights, intersection)[kept].T if kept else np.empty((weights.shape[1], 0))
        return iou.T, accuracy[:, None], ratio

    drawn = [scores(draw(generator, len(ids), _CHUNK)) for _ in range(RESAMPLES // _CHUNK)]
    whole = scores(np.ones((len(ids), 1)))
    rests_on = (truths + predictions - hits, truths.sum(axis=0)[None], hits[[objects[j] for j in kept]])
    by_class, accuracies, ratios_drawn = (
        widened(np.concatenate(made), own[0], effective_images(pixels))
        for made, own, pixels in zip(zip(*drawn), whole, rests_on)
    )
    return Resamples(
        np.nanmean(by_class, axis=1),
        by_class,
        naming.labels,
        digest[:24],
        accuracies[:, 0],
        ratios_drawn,
        tuple(pairs[j] for j in kept),
    )


def effective_images(pixels: Any) -> np.ndarray:
    """How many images a sum over images rests on, by row: Kish's effective sample size (Survey Sampling, 1965).

    pixels: (M, images), an array or sparse; returns (M,) from 1 to the number of images, 0 where there are no pixels
    """
    weights = scipy.sparse.csr_array(pixels)
    total, squares = weights.sum(axis=1), weights.power(2).sum(axis=1)
    return np.divide(total**2, squares, out=np.zeros(len(total)), where=squares > 0)


def widened(drawn: np.ndarray, value: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Resamples (B, M) of scores (M,) that rest on so many images (M,), with n/(n - 1) times their variance.

    A bootstrap draws from the n images that there are, whose variance is that of ddof 0: (n - 1)/n of what is meant.
    For all images together that is nothing, but of 100 images a class may be on ten, as few as nine of which count
    where some of its regions are large. A class of one image counts as one of two: its variance stays unknown.
    """
    rests_on = np.maximum(images, 2)
    return value + np.sqrt(rests_on / (rests_on - 1)) * (drawn - value)  # type: ignore[no-any-return]


def draw(generator: np.random.Generator, images: int, resamples: int) -> np.ndarray:
    """How often each image is drawn, (images, resamples) float64; a column is one multinomial draw."""
    chosen = generator.integers(images, size=(resamples, images))
    chosen += images * np.arange(resamples)[:, None]
    drawn = np.bincount(chosen.reshape(-1), minlength=resamples * images)
    return drawn.reshape(resamples, images).T.astype(np.float64)


def true_and_predicted(counts: Counts, threshold: float | None) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted class of each row of the counts, 0 the background.

    threshold: of CAM counts, one of the stored ones; None for label maps
    """
    objects = len(counts.header.naming.classes)
    truth = np.where(counts.gt > objects, 0, counts.gt).astype(np.intp)  # context regions are background
    predicted = np.where(counts.pred == IGNORE, 0, counts.pred).astype(np.intp)
    if counts.bin is not None:
        grid = np.asarray(counts.header.thresholds, np.float32)
        above = counts.bin > np.searchsorted(grid, np.float32(threshold))
        predicted = np.where(above, predicted, 0)
    return truth, predicted
