"""The split of images that come without one, and what is in each split of each class."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

from datasets.base import Dataset


def drawn_splits(labels: Mapping[str, tuple[int, ...]], share: float, seed: int) -> dict[str, str]:
    """Image id -> "train" or "val": of each class `share` of its images become val, those with the lowest hashes.

    An image of several classes counts for the one that fewest images have; those without a label are a class, too. A
    class of two or more images has one at least on each side. Adding images moves few of the others.

    share: in (0, 1); seed: of the hashes
    """
    counts = Counter(label for of in labels.values() for label in of)
    strata: dict[int, list[str]] = {}
    for sample_id, of in labels.items():
        rarest = min(of, key=lambda label: (counts[label], label), default=-1)
        strata.setdefault(rarest, []).append(sample_id)
    val = set()
    for ids in strata.values():
        held = round(share * len(ids))
        if len(ids) > 1:
            held = min(max(held, 1), len(ids) - 1)
        val.update(sorted(ids, key=lambda sample_id: _hash(sample_id, seed))[:held])
    return {sample_id: "val" if sample_id in val else "train" for sample_id in labels}


def _hash(sample_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()


def class_counts(dataset: Dataset) -> list[str]:
    """A line for each split: images of each class, and how many of them have a mask."""
    lines = []
    for split in ("train", "val"):
        images: Counter[str] = Counter()
        masks: Counter[str] = Counter()
        for sample in dataset.samples(split):
            names = [dataset.classes[label] for label in sample.labels] or ["without an object"]
            images.update(names)
            if dataset.mask_path(sample.id) is not None:
                masks.update(names)
        said = [f"{name} {images[name]} ({masks[name]})" for name in (*dataset.classes, "without an object")]
        if not images["without an object"]:
            said.pop()
        lines.append(f"images of {split} by class, with masks in brackets: {', '.join(said)}")
    return lines
