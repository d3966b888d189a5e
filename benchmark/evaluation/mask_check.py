"""Every mask of a split is looked at before anything trains: a fault found at scoring would come hours later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmark.evaluation.ground_truth import GroundTruth
from benchmark.evaluation.parallel import map_in_order
from datasets.base import IGNORE, DataError, Dataset
from datasets.files.inspection import first_names


def check_masks(
    dataset: Dataset,
    split: str,
    workers: int | None = None,
    progress: Callable[[int], object] = lambda n: None,
) -> int:
    """Check format, size and class ids of a split's masks and context maps; returns the number of masks.

    Raises DataError: the first fault and how many there are, or that no mask holds an object though image
    labels name some (a mask of 0 and 255 says "background" and "not scored").
    """
    truth = GroundTruth(dataset)
    masked = [i for i in dataset.ids(split) if dataset.mask_path(i) is not None]
    faults: dict[str, DataError] = {}
    with_objects, held = 0, np.zeros(256, bool)
    for sample_id, (fault, values) in zip(
        masked, map_in_order(partial(_look, truth), masked, workers), strict=True
    ):
        progress(1)
        if fault is not None:
            faults[sample_id] = fault
        elif dataset.sample(sample_id).labels:
            with_objects += 1
            held |= values
    if faults:
        count = f"{len(faults)} of {len(masked)} masks of {split} are faulty ({first_names(list(faults))}): "
        raise DataError(f"{count if len(faults) > 1 else ''}{next(iter(faults.values()))}")
    if with_objects and not held[1 : len(dataset.classes) + 1].any():
        raise DataError(_no_object(dataset, split, with_objects, np.flatnonzero(held)))
    return len(masked)


def _look(truth: GroundTruth, sample_id: str) -> tuple[DataError | None, np.ndarray]:
    """What is wrong with a mask, and which of 256 values it holds, contexts folded into the background."""
    try:
        mask = truth.read(sample_id)
        truth.require_image_size(sample_id, mask)
    except DataError as error:
        return error, np.zeros(256, bool)
    values = np.bincount(mask.ravel(), minlength=256) > 0
    values[truth.pred_classes : IGNORE] = False
    return None, values


def _no_object(dataset: Dataset, split: str, masks: int, held: np.ndarray) -> str:
    ids = ", ".join(f"{i} {name}" for i, name in enumerate(dataset.classes[:3], 1))
    more = ", ..." if dataset.classes[3:] else ""
    values = " and ".join(f"{v} ({'ignored' if v == IGNORE else 'background'})" for v in held)
    return (
        f"{dataset.name}: none of the {masks} masks of {split} whose images have labels holds an object, only"
        f" {values}; save each object as the id of its class ({ids}{more}), {IGNORE} only for what is not scored"
    )
