"""Reading and checking masks. Apart from entries with mask supervision, only the evaluator opens any."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.evaluation.confusion import extend_with_context
from benchmark.evaluation.scores import Naming
from datasets.base import IGNORE, DataError, Dataset
from datasets.files.images import image_size, read_labels
from datasets.voc.pascal_context import read_context_map


class GroundTruth:
    """Masks of a data set, extended by its context regions."""

    def __init__(self, dataset: Dataset, background: str = "background") -> None:
        self.dataset = dataset
        self.naming = Naming(background, dataset.classes, tuple(dataset.contexts))
        self.pred_classes = len(dataset.classes) + 1
        self.gt_classes = self.pred_classes + len(dataset.contexts)

    def read(self, sample_id: str) -> np.ndarray:
        """Extended mask, (H, W) uint8: 0..C, C + 1 + j for context j, 255 ignored. Raises DataError."""
        path = self._mask_path(sample_id)
        mask = read_label_map(path, "mask", len(self.dataset.classes))
        context = self.dataset.context_path(sample_id) if self.dataset.contexts else None
        if context is None:
            return mask
        if not context.exists():
            raise DataError(f"no context map {context}; restore it")
        regions = read_context_map(context)
        if regions.shape != mask.shape:
            raise DataError(
                f"context map {context} is {_size(regions)} but mask {path} is {_size(mask)};"
                " export both at their image's size"
            )
        return extend_with_context(mask, regions, self.dataset.contexts, len(self.dataset.classes))

    def has_context(self, sample_id: str) -> bool:
        """Whether its mask is extended, so that confusion with context can be seen in it."""
        return bool(self.dataset.contexts) and self.dataset.context_path(sample_id) is not None

    def without_context(self, mask: np.ndarray) -> np.ndarray:
        """An extended mask with context regions as the background they are."""
        if not self.dataset.contexts:
            return mask
        return np.where((mask >= self.pred_classes) & (mask != IGNORE), np.uint8(0), mask)

    def require_size(self, sample_id: str, mask: np.ndarray, shape: tuple[int, ...], other: str) -> None:
        """Raise DataError if `other`, of the given (H, W), is not of the mask's size; says which is wrong."""
        if mask.shape != shape:
            self.require_image_size(sample_id, mask)
            raise DataError(
                f"{other} is {shape[1]}x{shape[0]}, image and mask {self._mask_path(sample_id)} are"
                f" {_size(mask)} (width x height); run the stage that wrote it again"
            )

    def require_image_size(self, sample_id: str, mask: np.ndarray) -> None:
        """Raise DataError if a mask, (H, W), is not of its image's size."""
        image = self.dataset.sample(sample_id).image
        height, width = image_size(image)
        if mask.shape != (height, width):
            raise DataError(
                f"mask {self._mask_path(sample_id)} is {_size(mask)}, image {image} is {width}x{height}"
                " (width x height); export the mask at its image's size"
            )

    def _mask_path(self, sample_id: str) -> Path:
        path = self.dataset.mask_path(sample_id)
        if path is None:
            raise DataError(
                f"image {sample_id} of {self.dataset.name} has no mask; score images that have one"
            )
        return path


def read_label_map(path: Path, what: str, classes: int) -> np.ndarray:
    """Label map (H, W) uint8 with ids 0..classes or 255; DataError on anything else. `what` names it."""
    labels = _read(path, what)
    require_ids(labels, path, what, classes)
    return labels


def require_ids(labels: np.ndarray, path: Path, what: str, classes: int) -> None:
    """Raise DataError unless ids are 0..classes or 255; labels: (H, W) uint8."""
    # adding 1 wraps 255 round to 0, so that one maximum finds every id out of range
    if labels.size and int(np.max(labels + np.uint8(1))) > classes + 1:
        values = np.unique(labels)
        wrong = values[(values > classes) & (values != IGNORE)][0]
        raise DataError(
            f"{what} {path} holds id {wrong}, but ids are 0..{classes} and {IGNORE} (ignored);"
            " check the class list it was made with"
        )


def _read(path: Path, what: str) -> np.ndarray:
    if not path.exists():
        raise DataError(f"no {what} {path}; restore it or run the stage that writes it again")
    return np.asarray(read_labels(path))


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
