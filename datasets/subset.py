"""A part of a data set that stands for the whole: few images, the classes in the same shares, always the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Literal

from datasets.base import Dataset, DatasetConfig, Fingerprint

NO_CLASS = -1
"""Stratum of the images without a label."""


def stratified(labels: Mapping[str, tuple[int, ...]], size: int) -> tuple[str, ...]:
    """`size` of the ids, or all where there are no more; in the order given.

    As in iterative stratification (Sechidis et al., ECML 2011), the classes are served from the rarest on: each is
    given as many images as its share, one at least while there is room. Images of a class come in the order of
    their ids' SHA-256.

    labels: id -> object classes of the image
    """
    if size >= len(labels):
        return tuple(labels)
    order = sorted(labels, key=lambda i: hashlib.sha256(i.encode()).digest())
    members: dict[int, list[str]] = defaultdict(list)
    for sample_id in order:
        for stratum in labels[sample_id] or (NO_CLASS,):
            members[stratum].append(sample_id)
    chosen: set[str] = set()
    for stratum in sorted(members, key=lambda s: (len(members[s]), s)):
        ids = members[stratum]
        share = max(1, round(len(ids) * size / len(labels)))
        missing = min(share - len(chosen.intersection(ids)), size - len(chosen))
        chosen.update([i for i in ids if i not in chosen][: max(missing, 0)])
    chosen.update([i for i in order if i not in chosen][: size - len(chosen)])
    return tuple(i for i in labels if i in chosen)


class Part(Dataset):
    """Goes before a data set's own class (`part_of`): its splits are stratified parts of that one's."""

    def __init__(self, config: DatasetConfig) -> None:
        super().__init__(config)  # type: ignore[call-arg]  # of the data set's own class
        self._part_size = config.subset
        self._part_ids: dict[str, tuple[str, ...]] = {}

    def ids(self, split: str) -> tuple[str, ...]:
        if split not in self._part_ids:
            ids = super().ids(split)  # type: ignore[safe-super]
            self._part_ids[split] = stratified({i: self.sample(i).labels for i in ids}, self._part_size)
        return self._part_ids[split]

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        own = super().fingerprint(part, split)  # type: ignore[safe-super]
        return Fingerprint().add(own, *self.ids(split)).hexdigest()


@cache
def part_of(kind: type[Dataset]) -> type[Dataset]:
    """A data set's class with `Part` before it."""
    return type(f"{kind.__name__}Part", (Part, kind), {})
