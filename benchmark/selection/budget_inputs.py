"""What `budget` computes from: maps by image, what is known of them without masks, and stored counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.evaluation.counts import Counts
from benchmark.failures import ConfigError
from benchmark.selection.areas import counted, expected
from benchmark.selection.candidates import SPLITS, Candidate, Found, find
from benchmark.selection.collect import read_or_collect
from benchmark.selection.estimates import Areas
from benchmark.selection.features import features
from benchmark.selection.model import Calibration, selected
from datasets.base import DataError
from datasets.files.decoding import image_size
from methods.base import Kind
from results.budget import state_of

if TYPE_CHECKING:
    from benchmark.console import Progress

MOST_USED = (Kind.PREDICTION, Kind.PSEUDO_LABEL, Kind.CAM)
"""The kind of map that is looked at, where none is asked for: the first that the run has."""


@dataclass(frozen=True)
class Inputs:
    """Of E entries with A artifacts on N images.

    combine: (E, A), the mean over an entry's seeds; stand_in: against the consensus
    truth: against the masks, 0 where there is none; None where no image has one
    masked: (N,) bool, scored with a mask; certain: (N,) bool, without labels, and all such images have a mask, or will
    have as soon as any has
    state: see `results.budget.state_of`
    predicted: (E,) mIoU by `select`, None without a calibration
    """

    kind: Kind
    split: str
    images: tuple[str, ...]
    entries: tuple[str, ...]
    combine: np.ndarray
    stand_in: Areas
    truth: Areas | None
    masked: np.ndarray
    certain: np.ndarray
    predicted: np.ndarray | None
    notes: tuple[str, ...]
    state: tuple[str, ...] = ()


def gather(
    run_dir: Path,
    kind: Kind | None,
    root: str | None,
    device: str,
    known: Calibration | None,
    progress: Callable[[str], Progress],
) -> Inputs:
    """Read or take evidence of all images of the kind's split, and read stored counts; no mask is opened.

    kind: None for the first of `MOST_USED` that the run has. Raises ConfigError and DataError.
    """
    found = find(run_dir, root, jury=False)
    kind = kind or next(each for each in MOST_USED if any(c.kind == each for c in found.candidates))
    candidates = sorted(
        (each for each in found.candidates if each.kind == kind), key=lambda each: (each.entry, each.seed)
    )
    if not candidates:
        there = dict.fromkeys(each.kind.value for each in found.candidates)
        raise ConfigError(f"--kind {kind.value}: {run_dir} has none; it has {', '.join(there)}")
    split = SPLITS[kind]
    found = replace(found, candidates=tuple(candidates))
    evidence = read_or_collect(found, 0, device, progress)
    chosen = selected(features(evidence), known).set_index("entry")
    notes = list(found.notes)
    if len({each.method for each in candidates}) < 2:
        notes.append("one method alone: there are no others that its maps could be held against")
    entries = tuple(dict.fromkeys(each.entry for each in candidates))
    combine = np.array([[each.entry == entry for each in candidates] for entry in entries], float)
    combine /= combine.sum(1, keepdims=True)
    samples = found.data.samples(split)
    images = tuple(sample.id for sample in samples)
    pixels = np.array([np.prod(image_size(sample.image)) for sample in samples])
    thresholds: list[float | None] = [None] * len(candidates)
    if kind == Kind.CAM:
        of_entry = dict(zip(chosen.index, chosen["threshold"].astype(float)))
        thresholds = [of_entry[each.entry] for each in candidates]
        of_key = evidence["key"].map(dict(zip((each.key for each in candidates), thresholds)))
        evidence = evidence[np.isclose(evidence["threshold"].astype(float), of_key.astype(float))]
    keys = [each.key for each in candidates]
    stand_in = expected(evidence, keys, images, pixels, len(found.data.classes))
    truth, masked = stored_truth(found, candidates, thresholds, images)
    # before a plan is made: it takes the masks that are there for those of images drawn at random
    if (unscored := found.data.masked(split) - int(masked.sum())) > 0:
        raise ConfigError(
            f"{run_dir}: {unscored} masks of {split} are not in the run's scores; run its command again, which makes "
            "scores alone, then `budget` again"
        )
    empty = np.array([not sample.labels for sample in samples])  # a folder's need no file for their mask
    certain = empty if masked[empty].all() or not masked.any() else np.zeros_like(empty)
    predicted = None if known is None else chosen.loc[list(entries), "predicted"].to_numpy(float)
    return Inputs(
        kind=kind,
        split=split,
        images=images,
        entries=entries,
        combine=combine,
        stand_in=stand_in,
        truth=truth,
        masked=masked,
        certain=certain,
        predicted=predicted,
        notes=tuple(notes),
        state=tuple(state_of(found.runs, kind.value)),
    )


def stored_truth(
    found: Found, candidates: list[Candidate], thresholds: list[float | None], images: tuple[str, ...]
) -> tuple[Areas | None, np.ndarray]:
    """Areas from the counts that scoring has left, and which images all candidates have some of.

    thresholds: of CAMs; None for label maps. (None, nothing) where nothing was scored. Raises DataError.
    """
    scores = {
        stage["key"]: stage.get("score") for run in found.runs for stage in run["stages"] if stage.get("key")
    }
    paths = [
        each.path.parents[1] / score["name"] / score["key"] / "counts.parquet"
        for each in candidates
        if (score := scores[each.key]) and score.get("key")
    ]
    there = [path.is_file() for path in paths]
    if not any(there):
        return None, np.zeros(len(images), bool)
    if not all(there) or len(paths) < len(candidates):
        raise DataError(
            f"{found.folder}: the store lacks the counts of some of its scores; run the command that made it again"
        )
    counts = [_read(path) for path in paths]
    common = set.intersection(*(set(each.images) for each in counts))
    return counted(counts, thresholds, images), np.array([image in common for image in images])


def _read(path: Path) -> Counts:
    try:
        return Counts.read(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged; run the command that made it again") from error
