"""Masks held against the image labels: ids in another order, and objects saved as "not scored", show there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from datasets.base import IGNORE, DataError, Dataset, Problem
from datasets.files.listing import first_names

TOLERATED = 0.1
"""Share of masks that may disagree with the labels of their images: annotators overlook things, here or there."""
ENOUGH = 3
"""Images of a class from which on most of them disagreeing is no accident."""


def label_problems(dataset: Dataset, held: Mapping[str, Collection[int]], where: str) -> list[Problem]:
    """What masks and image labels say against each other: errors beyond `TOLERATED`, notes below.

    held: id of an image with a mask -> values in that mask; where: begins the findings, such as "folder: train"
    """
    count = len(dataset.classes)
    labels = {i: {label + 1 for label in dataset.sample(i).labels} for i in held}
    objects = {i: {v for v in values if 1 <= v <= count} for i, values in held.items()}
    labelled = [i for i in held if labels[i]]
    if not labelled:
        return []
    if not any(objects[i] for i in labelled):
        return [_no_object(dataset, held, labelled, where)]
    lacking = [i for i in labelled if not labels[i] & objects[i]]
    foreign = [i for i in held if objects[i] - labels[i]]
    hints = _by_class(dataset.classes, labels, objects)
    found = []
    for ids, of, what in (
        (lacking, labelled, "hold none of their image's classes"),
        (foreign, list(held), "hold classes that their image is not labelled with"),
    ):
        if not ids:
            continue
        broken = len(ids) > TOLERATED * len(of) or bool(hints)
        said = f"{where}: {len(ids)} of {len(of)} masks {what} ({first_names(ids)})"
        said += "".join(f"; {hint}" for hint in hints) if broken else ""
        remedy = (
            f"save each object as the id of its class ({_ids(dataset.classes)}), {IGNORE} only for what is not"
            " scored, and correct the labels of these images or the order of the class list"
            if broken
            else "look at these images; labels and masks of so few may differ"
        )
        found.append(Problem(said, remedy, broken))
    return found


def mask_values(path: Path) -> frozenset[int]:
    """Values in a mask, none where it cannot be read or is no single-channel image, which others say."""
    from datasets.files.decoding import opened

    try:
        with opened(path) as mask:
            if mask.mode not in ("L", "P", "1"):
                return frozenset()
            counts = mask.histogram()[:256]
            return frozenset(min(v, 1) if mask.mode == "1" else v for v, n in enumerate(counts) if n)
    except DataError:
        return frozenset()


def _by_class(
    classes: Sequence[str], labels: Mapping[str, set[int]], objects: Mapping[str, set[int]]
) -> list[str]:
    """Classes that most of their images' masks lack, and what these hold in their place."""
    said = []
    for value, name in enumerate(classes, 1):
        of = [i for i in labels if value in labels[i]]
        without = [i for i in of if value not in objects[i]]
        if len(of) < ENOUGH or 2 * len(without) <= len(of):
            continue
        others = Counter(v for i in without for v in objects[i] - labels[i]).most_common(1)
        instead = (
            f", {others[0][1]} hold {others[0][0]} {classes[others[0][0] - 1]!r} instead" if others else ""
        )
        said.append(f"{len(without)} of {len(of)} masks of {name!r} lack its id {value}{instead}")
    return said


def _no_object(
    dataset: Dataset, held: Mapping[str, Collection[int]], labelled: Sequence[str], where: str
) -> Problem:
    seen = sorted({v for i in labelled for v in held[i]})
    values = " and ".join(f"{v} ({'ignored' if v == IGNORE else 'background'})" for v in seen)
    what = (
        f"{where}: none of the {len(labelled)} masks whose images have labels holds an object, only {values}"
    )
    return Problem(
        what,
        f"save each object as the id of its class ({_ids(dataset.classes)}), {IGNORE} only for what is not scored",
    )


def _ids(classes: Sequence[str]) -> str:
    return ", ".join(f"{i} {name}" for i, name in enumerate(classes[:3], 1)) + (
        ", ..." if classes[3:] else ""
    )
