"""Bootstrap samples of scores in a run folder: `resamples/<artifact key>-<variant>.npz`, written once.

A record's file follows from its `key`, its `variant` and those of its `changes` that concern the data. The same maps
scored against another ground truth have other resamples, in a file whose name ends in a digest of these changes. Files of
several commands stand side by side and need no merging.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Container
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from datasets.base import DataError
from datasets.files.arrays import ArraysError, read_npz

RESAMPLES_FOLDER = "resamples"


@dataclass(frozen=True)
class Resamples:
    """Scores of B resampled image sets; resample b is the same set wherever `images` is equal.

    miou: (B,) fractions; iou: (B, C + 1) by class, background first, NaN where a class does not occur
    labels: names of the classes; images: fingerprint of the image ids
    pixel_accuracy: (B,) fractions, or (0,) where it was not resampled
    confusion_ratio: (B, J) FP/TP, NaN where a resample has no TP; pairs: of which J, "class|context"
    """

    miou: np.ndarray
    iou: np.ndarray
    labels: tuple[str, ...]
    images: str
    pixel_accuracy: np.ndarray = field(default_factory=lambda: np.empty(0))
    confusion_ratio: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    pairs: tuple[str, ...] = ()

    def of(self, metric: str, class_name: str = "") -> np.ndarray | None:
        """The (B,) resamples of a metric, called as in the records; None where it was not resampled."""
        if metric == "miou":
            return self.miou
        if metric == "iou" and class_name in self.labels:
            return self.iou[:, self.labels.index(class_name)]
        if metric == "pixel_accuracy" and len(self.pixel_accuracy):
            return self.pixel_accuracy
        if metric == "confusion_ratio" and class_name in self.pairs:
            return self.confusion_ratio[:, self.pairs.index(class_name)]
        return None


def resamples_path(run_dir: Path, key: str, variant: str, data: str = "") -> Path:
    """Where an artifact's resamples lie; data: `results.changes.data_changes` of its records."""
    digest = f"-{hashlib.sha256(data.encode()).hexdigest()[:8]}" if data else ""
    return run_dir / RESAMPLES_FOLDER / f"{key}-{variant or 'all'}{digest}.npz"


def resampled_from(path: Path) -> str:
    """Key of the scores that a file's resamples were made of; empty if it is not there or damaged."""
    try:
        return str(_read(path, ("score_key",))["score_key"])
    except (ArraysError, KeyError):  # not there, torn or foreign: made again
        return ""


def is_resampled(path: Path, score_key: str) -> bool:
    """Whether a file has resamples of these scores and of every metric that is resampled."""
    if resampled_from(path) != score_key:
        return False
    try:
        return {each.name for each in fields(Resamples)} <= _read(path).keys()
    except ArraysError:
        return False


def store_resamples(path: Path, resamples: Resamples, score_key: str = "") -> None:
    """Write a file, whole or not at all. Classes are kept in half precision: its error is 1/50 of a
    bootstrap's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(
                file,
                miou=resamples.miou,
                iou=resamples.iou.astype(np.float16),
                labels=np.array(resamples.labels),
                images=np.array(resamples.images),
                pixel_accuracy=resamples.pixel_accuracy,
                confusion_ratio=resamples.confusion_ratio.astype(np.float32),
                pairs=np.array(resamples.pairs, np.str_),
                score_key=np.array(score_key),
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_resamples(path: Path) -> Resamples | None:
    """The resamples in a file; None if it is not there. Raises DataError if it is damaged."""
    if not path.is_file():
        return None
    try:
        stored = _read(path)
        found = Resamples(
            stored["miou"],
            stored["iou"].astype(np.float32),
            tuple(str(label) for label in stored["labels"]),
            str(stored["images"]),
        )
        if "pairs" not in stored:  # of a version that resampled less
            return found
        return replace(
            found,
            pixel_accuracy=stored["pixel_accuracy"],
            confusion_ratio=stored["confusion_ratio"],
            pairs=tuple(str(pair) for pair in stored["pairs"]),
        )
    except (ArraysError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise DataError(f"{path}: damaged ({reason}); delete it and run the same command again") from error


def _read(path: Path, only: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Its arrays, which `store_resamples` doesn't compress."""
    return read_npz(path, path.stat().st_size if path.is_file() else math.inf, only)
