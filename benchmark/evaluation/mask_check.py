"""Every mask of a split is looked at before anything trains: a fault found at scoring would come hours later."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmark.evaluation.ground_truth import GroundTruth
from benchmark.evaluation.parallel import map_in_order
from datasets.base import IGNORE, DataError, Dataset
from datasets.files.label_check import label_problems
from datasets.files.listing import first_names
from datasets.files.palette import palette_problem, shown_colours


def check_masks(
    dataset: Dataset,
    split: str,
    workers: int | None = None,
    progress: Callable[[int], object] = lambda n: None,
    note: Callable[[str], object] = lambda text: None,
) -> int:
    """Check format, size and class ids of a split's masks and context maps; returns the number of masks.

    note: told what is worth knowing and no error: a few masks that disagree with the labels of their images
    Raises DataError: the first fault and how many there are, or that masks and image labels disagree
    (`datasets.files.label_check`; a mask of 0 and 255 says "background" and "not scored").
    """
    truth = GroundTruth(dataset)
    masked = [i for i in dataset.ids(split) if dataset.mask_path(i) is not None]
    faults: dict[str, DataError] = {}
    held: dict[str, list[int]] = {}
    for sample_id, (fault, values) in zip(
        masked, map_in_order(partial(_look, truth), masked, workers), strict=True
    ):
        progress(1)
        if fault is not None:
            faults[sample_id] = fault
        else:
            held[sample_id] = np.flatnonzero(values).tolist()
    if faults:
        count = f"{len(faults)} of {len(masked)} masks of {split} are faulty ({first_names(list(faults))}): "
        raise DataError(f"{count if len(faults) > 1 else ''}{next(iter(faults.values()))}")
    where = f"{dataset.name}: {split}"
    paths = {i: path for i in masked if (path := dataset.mask_path(i)) is not None}
    if paths and (problem := palette_problem(where, shown_colours(held, paths), paths[masked[0]].parent)):
        raise DataError(f"{problem.what}; {problem.remedy}")
    for problem in label_problems(dataset, held, where):
        if problem.broken:
            raise DataError(f"{problem.what}; {problem.remedy}")
        note(f"{problem.what}; {problem.remedy}")
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
