"""Checks of images and masks on disk that data sets share, for `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets.base import IGNORE, DataError, Dataset, Problem
from datasets.files.label_check import label_problems, mask_values
from datasets.files.listing import first_names as first_names
from datasets.files.palette import palette_problem, save_ids, shown_colours

SAMPLED = 50
"""Images that are decoded; all of a large data set would take minutes."""
MASKS_SAMPLED = 200
"""Masks of a split that are held against image labels: they decode faster, and every class should be among them."""


def as_problem(error: DataError) -> Problem:
    """Errors read "what, where; remedy"."""
    what, separator, remedy = str(error).rpartition("; ")
    return Problem(what, remedy) if separator else Problem(remedy, "see the message")


def sampled_problems(dataset: Dataset, splits: Sequence[str] = ("train", "val")) -> list[Problem]:
    """Decode `SAMPLED` images, evenly spaced over the splits, with their masks: unreadable files, masks of
    another size or with class ids out of range. Holds `MASKS_SAMPLED` masks against labels. Does not raise."""
    try:
        ids = [i for split in splits for i in dataset.ids(split)]
        chosen = _evenly(ids, SAMPLED)
        scope = f"found among {len(chosen)} of {len(ids)} images sampled"
        found = [problem for i in chosen for problem in _image_problems(dataset, i)]
        found = [Problem(f"{problem.what} ({scope})", problem.remedy) for problem in found]
        return found + [problem for split in splits for problem in _sampled_labels(dataset, split)]
    except DataError as error:
        return [as_problem(error)]


def _evenly(ids: Sequence[str], count: int) -> Sequence[str]:
    return [ids[k * len(ids) // count] for k in range(count)] if len(ids) > count else ids


def _sampled_labels(dataset: Dataset, split: str) -> list[Problem]:
    paths = {i: path for i in dataset.ids(split) if (path := dataset.mask_path(i)) is not None}
    if not paths:
        return []
    chosen = _evenly(list(paths), MASKS_SAMPLED)
    scope = f" ({len(chosen)} of {len(paths)} masks sampled)" if len(chosen) < len(paths) else ""
    held = {i: values for i in chosen if (values := mask_values(paths[i]))}
    where = f"{dataset.name}: {split}"
    found = label_problems(dataset, held, where)
    if problem := palette_problem(where, shown_colours(held, paths), next(iter(paths.values())).parent):
        found.insert(0, problem)
    return [Problem(f"{problem.what}{scope}", problem.remedy, problem.broken) for problem in found]


def _image_problems(dataset: Dataset, sample_id: str) -> list[Problem]:
    from datasets.files.decoding import PHOTOS, opened_whole, require_still, upright_size

    try:
        path = dataset.sample(sample_id).image
        with opened_whole(path, PHOTOS) as image:
            require_still(path, image)
            size = upright_size(image)
            image.load()
    except DataError as error:
        return [as_problem(error)]
    mask = dataset.mask_path(sample_id)
    return mask_problems(mask, size, len(dataset.classes)) if mask is not None else []


def mask_problems(path: Path, size: tuple[int, int], classes: int) -> list[Problem]:
    """All that is wrong with one mask.

    size: (width, height) of its image, pixels; classes: number of object classes (ids 0..classes and 255)
    """
    from datasets.files.decoding import opened_whole

    try:
        with opened_whole(path) as mask:
            if mask.mode not in ("L", "P", "1"):
                what = f"{path}: mask of mode {mask.mode}, not 8-bit single-channel or indexed"
                return [Problem(what, save_ids(path.parent))]
            values = [v for v, n in enumerate(mask.histogram()[:256]) if n]
            if mask.mode == "1":  # read as 0 and 1, counted as 0 and 255
                values = [min(v, 1) for v in values]
            mask_size = mask.size
    except DataError as error:
        return [as_problem(error)]
    found = []
    if mask_size != size:
        what = f"{path}: mask of {mask_size[0]}x{mask_size[1]} for an image of {size[0]}x{size[1]}"
        found.append(Problem(what, "masks must have their image's size (width x height)"))
    wrong = [v for v in values if v > classes and v != IGNORE]
    if wrong:
        what = f"{path}: class ids {', '.join(map(str, wrong[:5]))} out of range 0..{classes}"
        found.append(Problem(what, f"use {IGNORE} for pixels that are not scored, and check the class list"))
    return found
