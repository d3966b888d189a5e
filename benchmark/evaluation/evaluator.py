"""Scores of finished artifacts against masks: label maps, and CAMs at fixed, tuned and oracle thresholds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.evaluation.boundary import TOLERANCE, boundary_counts
from benchmark.evaluation.confusion import fold_ignored, merge_context, pair_counts
from benchmark.evaluation.counts import CountsHeader, CountsWriter
from benchmark.evaluation.curves import (
    CamCounts,
    ThresholdBins,
    cam_counts,
    counts_above,
    highest_class,
    label_map,
    matrices_at_thresholds,
    threshold_grid,
)
from benchmark.evaluation.flatness import flat_maps, flatness
from benchmark.evaluation.ground_truth import GroundTruth, read_label_map
from benchmark.evaluation.inspection.foreground import LEVELS, map_path
from benchmark.evaluation.inspection.tally import PartCounts, PartTally, part_counts
from benchmark.evaluation.parallel import map_in_order
from benchmark.evaluation.scores import MetricRow, absent_classes, false_alarms, mean_iou, metric_rows
from benchmark.evaluation.tallies import Tally
from datasets.base import DataError, Dataset
from datasets.files.images import read_labels
from methods.artifacts import Cam, CamReader, label_map_path

NO_MASKS = "no masks, nothing is scored"
ONLY_VERDICTS = "no masks, verdicts on images alone are scored"

CAM_LEVELS = 4096
"""Levels that CAMs are rounded to for AUPRO."""

Progress = Callable[[int], object]
"""Called with the number of images finished since the last call."""


@dataclass(frozen=True)
class Scores:
    """Result of one evaluation.

    notes:  one line each: `NO_MASKS` or `ONLY_VERDICTS`, images or classes left out, predicted 255, masks that chose a
            threshold
    images: number of images scored
    counts: file of per-image counts (`benchmark.evaluation.counts`), None if nothing was scored
    """

    rows: list[MetricRow]
    notes: list[str] = field(default_factory=list)
    images: int = 0
    counts: Path | None = None


def score_label_maps(
    artifact_dir: Path,
    dataset: Dataset,
    split: str,
    *,
    stage: str,
    counts_path: Path,
    boundary_tolerance: float = TOLERANCE,
    inspect: bool = False,
    judge: bool = False,
    ids: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress = lambda images: None,
) -> Scores:
    """Score the label maps of an artifact on a split, at native size.

    stage: "pseudo_label" or "segmentation"; ids: a part of the split (default: all that have masks)
    counts_path: Parquet file to write; workers: threads (default: one per core)
    boundary_tolerance: as a fraction of the diagonal, see `benchmark.evaluation.boundary`
    inspect: also score defects one by one; judge: and verdicts on images, also on those without a mask. The maps have
    to be made without the images' labels then
    Raises DataError on a missing map, on ids out of range and on sizes that differ.
    """
    truth = GroundTruth(dataset)
    scored, notes = scored_ids(truth, split, ids)
    judged: list[MetricRow] = []
    if judge:
        from benchmark.evaluation.inspection.images import verdict_rows  # loads scikit-learn

        every, masked = dataset.ids(split) if ids is None else ids, set(scored)
        # files made elsewhere may be of the images with a mask alone
        named = [i for i in every if i in masked or label_map_path(artifact_dir, i).exists()]
        of_named = partial(MetricRow, stage, "", split, images=len(named))
        judged += verdict_rows(artifact_dir, dataset, named, of_named, workers)
    if not scored:
        return Scores(judged, [ONLY_VERDICTS], len(named)) if judged else Scores([], notes)

    def count(sample_id: str) -> tuple[str, np.ndarray, np.ndarray, PartCounts | None]:
        mask = truth.read(sample_id)
        path = label_map_path(artifact_dir, sample_id)
        prediction = read_label_map(path, "label map", len(dataset.classes))
        truth.require_size(sample_id, mask, prediction.shape, f"label map {path}")
        pairs = pair_counts(mask[None], prediction[None], truth.gt_classes, truth.pred_classes)[0]
        plain = truth.without_context(mask)
        part = None
        if inspect:
            good = judge and not dataset.sample(sample_id).labels
            levels = _levels(artifact_dir, truth, sample_id, mask)
            part = part_counts(plain, prediction, len(dataset.classes), good, levels, LEVELS)
        return sample_id, pairs, boundary_counts(plain[None], prediction[None], boundary_tolerance)[0], part

    total = np.zeros((truth.gt_classes, truth.pred_classes + 1), np.int64)
    found = np.zeros(truth.pred_classes, np.int64)
    tally, parts = Tally(len(dataset.classes)), PartTally(dataset.classes)
    # column -> stored id; the last column counts predicted 255
    stored = np.append(np.arange(truth.pred_classes), 255)
    with CountsWriter(counts_path, CountsHeader(truth.naming)) as writer:
        for sample_id, counts, boundary, part in map_in_order(count, scored, workers):
            total += counts
            if part is not None:
                parts.add(part)
            tally.add(fold_ignored(counts), boundary)
            if truth.has_context(sample_id):
                found += fold_ignored(counts).diagonal()
            gt, pred = np.nonzero(counts)
            writer.add(sample_id, gt, stored[pred], counts[gt, pred])
            progress(1)
    matrix, ignored = fold_ignored(total), int(total[:, -1].sum())
    row = partial(MetricRow, stage, "", split, images=len(scored))
    rows = [*metric_rows(matrix, truth.naming, row, found), *tally.rows(row), *parts.rows(row), *judged]
    rows.append(row("ignored_predictions", float(ignored)))
    notes += _uncovered(truth, scored)
    if ignored:
        notes.append(f"{ignored:,} scored pixels were predicted 255 and count as background")
    notes += _absence(matrix, truth)
    return Scores(rows, notes, len(scored), counts_path)


def score_cams(
    artifact_dir: Path,
    dataset: Dataset,
    split: str,
    fixed_threshold: float | None,
    *,
    stage: str = "cam",
    counts_path: Path,
    held_out_fraction: float = 0.2,
    sweep_max: float = 0.59,
    step: float = 0.01,
    boundary_tolerance: float = TOLERANCE,
    inspect: bool = False,
    ids: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress = lambda images: None,
) -> Scores:
    """Score class activation maps on a split under four rules for the background threshold.

    "fixed":  the method's own, on all images (no rows if `fixed_threshold` is None). It alone has the scores of
              boundaries, subsets and defects: a map at a threshold that is not known yet cannot be looked at in one pass
    "tuned":  the best on a held-out part of the split (`held_out_ids`), scored on the remaining images; this
              uses masks. The part's size is the metric ``held_out_images``
    "oracle": the best on the scored images themselves, which is what most papers print
    "curve":  mIoU at every threshold 0, step, ..., sweep_max on all images
    Tuned and oracle choose among the curve's thresholds, the lowest of equals. `stage` names the rows; other
    arguments and errors as in `score_label_maps`.
    """
    truth = GroundTruth(dataset)
    scored, notes = scored_ids(truth, split, ids)
    if not scored:
        return Scores([], notes)
    thresholds = threshold_grid(step, *([] if fixed_threshold is None else [fixed_threshold]))
    held_out = held_out_ids(scored, held_out_fraction)
    notes += _uncovered(truth, scored)
    counted = _count_cams(
        artifact_dir,
        truth,
        scored,
        held_out,
        ThresholdBins(thresholds),
        counts_path,
        fixed_threshold,
        boundary_tolerance,
        inspect,
        workers,
        progress,
    )
    notes += flatness(counted.maps)
    tuning, remaining = (matrices_at_thresholds(group) for group in counted.histograms)
    everything = tuning + remaining
    found_tuning, found_remaining = (counts_above(group) for group in counted.found)
    found_everything = found_tuning + found_remaining
    sweep = [round(k * step, 10) for k in range(int(sweep_max / step + 1e-6) + 1)]
    positions = np.searchsorted(thresholds, np.asarray(sweep, np.float32))

    def curve(matrices: np.ndarray) -> np.ndarray:
        return mean_iou(merge_context(matrices[positions], len(dataset.classes)))

    def rows_at(
        variant: str, matrices: np.ndarray, found: np.ndarray, images: int, threshold: float
    ) -> list[MetricRow]:
        position = np.searchsorted(thresholds, np.float32(threshold))
        matrix = matrices[position]
        for note in _absence(matrix, truth):
            absences.setdefault(note, []).append(variant)
        row = partial(MetricRow, stage, variant, split, threshold=threshold, images=images)
        rows = [*metric_rows(matrix, truth.naming, row, found[position]), row("threshold", threshold)]
        return [*rows, *counted.tally.rows(row), *counted.parts.rows(row)] if variant == "fixed" else rows

    rows: list[MetricRow] = []
    absences: dict[str, list[str]] = {}
    if fixed_threshold is not None:
        rows += rows_at("fixed", everything, found_everything, len(scored), fixed_threshold)
    if held_out:
        best = sweep[_argmax(curve(tuning))]
        images = len(scored) - len(held_out)
        rows += rows_at("tuned", remaining, found_remaining, images, best)
        size = float(len(held_out))
        rows.append(MetricRow(stage, "tuned", split, "held_out_images", size, threshold=best, images=images))
        notes.append(
            f"tuned uses masks: its threshold is chosen on {len(held_out):,} held-out images, scored are {images:,}"
        )
    else:
        notes.append("no tuned threshold: a single image leaves none to hold out")
    values = curve(everything)
    rows += rows_at("oracle", everything, found_everything, len(scored), sweep[_argmax(values)])
    rows += [
        MetricRow(stage, "curve", split, "miou", float(value), threshold=threshold, images=len(scored))
        for threshold, value in zip(sweep, values)
    ]
    notes += [f"{', '.join(variants)}: {note}" for note, variants in absences.items()]
    return Scores(rows, notes, len(scored), counts_path)


class _CamSums(NamedTuple):
    """Sums over the held-out and over the remaining images.

    histograms: two (G, P, T + 1), by ground truth, highest class and bin
    found: two (P, T + 1), those on the diagonal, over the images whose context is labelled
    tally: of all images at the fixed threshold; empty where there is none
    parts: the same of defects, of images with one: on others a CAM has no map, whatever its network sees
    maps: (3,) how many there are, how many of them are empty, how many constant
    """

    histograms: tuple[np.ndarray, np.ndarray]
    found: tuple[np.ndarray, np.ndarray]
    tally: Tally
    parts: PartTally
    maps: np.ndarray


def _count_cams(
    directory: Path,
    truth: GroundTruth,
    ids: Sequence[str],
    held_out: frozenset[str],
    bins: ThresholdBins,
    counts_path: Path,
    fixed_threshold: float | None,
    boundary_tolerance: float,
    inspect: bool,
    workers: int | None,
    progress: Progress,
) -> _CamSums:
    """One pass over CAMs and masks."""

    def count(
        item: tuple[str, Cam],
    ) -> tuple[str, CamCounts, np.ndarray | None, PartCounts | None, np.ndarray]:
        sample_id, cam = item
        _require_valid(sample_id, cam, directory, len(truth.dataset.classes))
        mask = truth.read(sample_id)
        truth.require_size(sample_id, mask, cam.size, f"CAM {sample_id} of {directory}")
        highest, boundary, part = highest_class(cam), None, None
        if fixed_threshold is not None:
            prediction = label_map(highest, cam.classes, fixed_threshold)
            plain = truth.without_context(mask)
            boundary = boundary_counts(plain[None], prediction[None], boundary_tolerance)[0]
            if inspect and cam.classes:
                levels = (highest[0] * np.float32(CAM_LEVELS - 1)).astype(np.intp)
                part = part_counts(plain, prediction, truth.pred_classes - 1, False, levels, CAM_LEVELS)
        return sample_id, cam_counts(cam, mask, bins, highest), boundary, part, flat_maps(cam)

    shape = (truth.gt_classes, truth.pred_classes, len(bins.thresholds) + 1)
    sums = _CamSums(
        (np.zeros(shape, np.int64), np.zeros(shape, np.int64)),
        (np.zeros(shape[1:], np.int64), np.zeros(shape[1:], np.int64)),
        Tally(len(truth.dataset.classes)),
        PartTally(truth.dataset.classes),
        np.zeros(3, np.int64),
    )
    header = CountsHeader(truth.naming, tuple(float(t) for t in bins.thresholds))
    with CountsWriter(counts_path, header) as writer:
        for sample_id, counts, boundary, part, maps in map_in_order(count, _cams_of(directory, ids), workers):
            sums.maps[:] += maps
            group = 0 if sample_id in held_out else 1
            sums.histograms[group][counts.gt, counts.pred, counts.bin] += (
                counts.pixels
            )  # no index occurs twice
            if truth.has_context(sample_id):
                same = counts.gt == counts.pred
                sums.found[group][counts.gt[same], counts.bin[same]] += counts.pixels[same]
            if boundary is not None:
                fixed_bin = np.searchsorted(bins.thresholds, np.float32(fixed_threshold))
                sums.tally.add(_matrix_above(counts, int(fixed_bin), shape[:2]), boundary)
            if part is not None:
                sums.parts.add(part)
            writer.add(sample_id, *counts)
            progress(1)
    return sums


def _levels(directory: Path, truth: GroundTruth, sample_id: str, mask: np.ndarray) -> np.ndarray | None:
    """The foreground map that a prediction keeps of an image; None where it keeps none."""
    path = map_path(directory, sample_id)
    if not path.exists():
        return None
    levels = read_labels(path).numpy()
    truth.require_size(sample_id, mask, levels.shape, f"foreground map {path}")
    return levels


def _matrix_above(counts: CamCounts, bin_: int, shape: tuple[int, int]) -> np.ndarray:
    """Confusion matrix (G, P) of one image where bins above `bin_` keep their class and others are background."""
    predicted = np.where(counts.bin > bin_, counts.pred, 0)
    code = counts.gt * shape[1] + predicted
    return np.bincount(code, counts.pixels, shape[0] * shape[1]).astype(np.int64).reshape(shape)


def held_out_ids(ids: Sequence[str], fraction: float) -> frozenset[str]:
    """The part of a split that thresholds are tuned on: the `fraction` of ids whose SHA-256 is smallest.

    Independent of order and seed. At least one id and at least one left over; empty for fewer than two ids.
    """
    if len(ids) < 2:
        return frozenset()
    size = min(max(round(fraction * len(ids)), 1), len(ids) - 1)
    return frozenset(sorted(ids, key=lambda i: hashlib.sha256(i.encode()).digest())[:size])


def scored_ids(
    truth: GroundTruth, split: str, ids: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """Ids to score, and a note where the split (or the part asked for) is not covered by masks."""
    wanted = truth.dataset.ids(split) if ids is None else ids
    scored = tuple(i for i in wanted if truth.dataset.mask_path(i) is not None)
    if not scored:
        return (), [NO_MASKS]
    if len(scored) < len(wanted):
        return scored, [f"scored on {len(scored):,} of {len(wanted):,} images: the others have no mask"]
    return scored, []


def _cams_of(directory: Path, ids: Sequence[str]) -> Iterator[tuple[str, Cam]]:
    reader = CamReader(directory)
    wanted = set(ids)
    missing = sorted(wanted.difference(reader.ids))
    if missing:
        raise DataError(
            f"CAM artifact {directory} lacks {len(missing)} of {len(wanted)} images, {missing[0]} first;"
            " run the stage that wrote it again"
        )
    return ((sample_id, cam) for sample_id, cam in reader if sample_id in wanted)


def _require_valid(sample_id: str, cam: Cam, directory: Path, classes: int) -> None:
    wrong = [c for c in cam.classes if not 0 <= c < classes]
    # written so that NaN fails too
    if wrong or not np.all((cam.maps >= 0) & (cam.maps <= 1)):
        what = f"class {wrong[0]} of {classes}" if wrong else "values outside [0, 1]"
        raise DataError(f"CAM {sample_id} of {directory} holds {what}; run the stage that wrote it again")


def _argmax(scores: np.ndarray) -> int:
    """Position of the first maximum; NaN counts as lowest."""
    return int(np.argmax(np.nan_to_num(scores, nan=-1.0)))


def _uncovered(truth: GroundTruth, ids: Sequence[str]) -> list[str]:
    """A note where the context of some images only is labelled."""
    covered = sum(truth.has_context(i) for i in ids) if truth.dataset.contexts else len(ids)
    if covered == len(ids):
        return []
    return [
        f"confusion with context over {covered:,} of {len(ids):,} images: the others have no context labels"
    ]


def _absence(matrix: np.ndarray, truth: GroundTruth) -> list[str]:
    """Notes on classes that the scored masks lack, and so on the mean and the false alarms."""
    merged = merge_context(matrix, len(truth.dataset.classes))
    absent = absent_classes(merged, truth.naming.labels)
    if not absent:
        return []
    notes = [f"not in the ground truth, left out of the mean: {', '.join(absent)}"]
    if alarms := float(false_alarms(merged)):
        notes.append(
            f"{100 * alarms:.2g} % of the scored pixels were predicted as classes not in the ground truth"
        )
    return notes
