"""A data set on disk, small enough to be scored by plain Python loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from benchmark.evaluation.confusion import fold_ignored, pair_counts
from datasets.base import ContextClass, Dataset, DatasetConfig, Problem, Sample
from datasets.files.images import write_labels
from methods.artifacts import label_map_path

CONTEXTS = (ContextClass("water", object_class=0, value=1), ContextClass("rails", object_class=1, value=2))


def confusion_matrices(
    ground_truth: np.ndarray, prediction: np.ndarray, gt_classes: int, pred_classes: int
) -> np.ndarray:
    """Confusion matrix of each image, as the evaluator makes it; arguments as in `pair_counts`.

    returns: (N, gt_classes, pred_classes) int64, rows are ground truth
    """
    return fold_ignored(pair_counts(ground_truth, prediction, gt_classes, pred_classes))


class TinyDataset(Dataset):
    """Masks (and images, which are masks' copies) given as arrays and written under `root`."""

    name = "tiny"
    summary = "arrays"
    needs = "nothing"
    config = DatasetConfig

    def __init__(
        self,
        root: Path,
        masks: Mapping[str, np.ndarray],
        *,
        classes: tuple[str, ...] = ("boat", "train", "bird"),
        labels: Mapping[str, tuple[int, ...]] | None = None,
        context_maps: Mapping[str, np.ndarray] | None = None,
        unmasked: Sequence[str] = (),
    ) -> None:
        self.root, self.classes, self.unmasked = root, classes, tuple(unmasked)
        self.contexts = CONTEXTS if context_maps is not None else ()
        self.all_ids = (*masks, *unmasked)
        self.context_ids = set(context_maps or ())
        self.labels = labels or {}
        for folder, maps in (("masks", masks), ("images", masks), ("contexts", context_maps or {})):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for sample_id, values in maps.items():
                write_labels(root / folder / f"{sample_id}.png", values)

    def prepare(self) -> None: ...

    def ids(self, split: str) -> tuple[str, ...]:
        return self.all_ids

    def sample(self, sample_id: str) -> Sample:
        return Sample(sample_id, self.root / "images" / f"{sample_id}.png", self.labels.get(sample_id, ()))

    def mask_path(self, sample_id: str) -> Path | None:
        return None if sample_id in self.unmasked else self.root / "masks" / f"{sample_id}.png"

    def context_path(self, sample_id: str) -> Path | None:
        return self.root / "contexts" / f"{sample_id}.png" if sample_id in self.context_ids else None

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return "tiny"

    def problems(self) -> Sequence[Problem]:
        return ()


def write_label_maps(directory: Path, maps: Mapping[str, np.ndarray]) -> Path:
    """Write maps as an artifact; returns its directory."""
    for sample_id, values in maps.items():
        path = label_map_path(directory, sample_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, values)
    return directory


def blocky(rng: np.random.Generator, size: tuple[int, int], ids: Sequence[int], block: int = 3) -> np.ndarray:
    """A label map of square patches, uint8."""
    coarse = rng.choice(np.asarray(ids, np.uint8), size=(-(-size[0] // block), -(-size[1] // block)))
    return np.repeat(np.repeat(coarse, block, 0), block, 1)[: size[0], : size[1]].copy()
