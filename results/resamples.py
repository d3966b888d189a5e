"""Bootstrap samples of scores in a run folder: `resamples/<artifact key>-<variant>.npz`, written once.

Records find theirs by `key` and `variant`. Files of several commands stand side by side and need no merging.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.base import DataError

RESAMPLES_FOLDER = "resamples"


@dataclass(frozen=True)
class Resamples:
    """Scores of B resampled image sets; resample b is the same set wherever `images` is equal.

    miou: (B,) fractions; iou: (B, C + 1) by class, background first, NaN where a class does not occur
    labels: names of the classes; images: fingerprint of the image ids
    """

    miou: np.ndarray
    iou: np.ndarray
    labels: tuple[str, ...]
    images: str


def resamples_path(run_dir: Path, key: str, variant: str) -> Path:
    return run_dir / RESAMPLES_FOLDER / f"{key}-{variant or 'all'}.npz"


def resampled_from(run_dir: Path, key: str, variant: str) -> str:
    """Key of the scores that an artifact's resamples were made of; empty if there are none."""
    path = resamples_path(run_dir, key, variant)
    if not path.is_file():
        return ""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["score_key"])
    except (OSError, ValueError, KeyError):  # torn or foreign: made again
        return ""


def store_resamples(run_dir: Path, key: str, variant: str, resamples: Resamples, score_key: str = "") -> None:
    """Write a file, whole or not at all. Classes are kept in half precision, 1/50 of what a bootstrap resolves."""
    path = resamples_path(run_dir, key, variant)
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
                score_key=np.array(score_key),
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_resamples(run_dir: Path, key: str, variant: str) -> Resamples | None:
    """The resamples of an artifact's scores; None if the run has none. Raises DataError if they are damaged."""
    path = resamples_path(run_dir, key, variant)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            labels = tuple(str(label) for label in stored["labels"])
            return Resamples(stored["miou"], stored["iou"].astype(np.float32), labels, str(stored["images"]))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it and run the same command again") from error
