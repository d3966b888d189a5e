"""A part of a data set that stands for the whole: few images, the classes in the same shares, always the same."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from datasets.base import Dataset, DatasetConfig, Fingerprint

NO_CLASS = -1
"""Stratum of the images without a label."""


def stratified(labels: Mapping[str, tuple[int, ...]], size: int) -> tuple[str, ...]:
    """`size` of the ids, or all where there are no more; in the order given.

    First each class is given an image, the rarest classes before the others, whose images often hold a common one
    too; where there is no room for all, the commonest. Then, image by image, the class is served that lacks most
    of its share, as in iterative stratification (Sechidis et al., ECML 2011). Images of a class come in the order
    of their ids' SHA-256.

    labels: id -> object classes of the image
    """
    if size >= len(labels):
        return tuple(labels)
    strata = {i: labels[i] or (NO_CLASS,) for i in labels}
    members: dict[int, list[str]] = defaultdict(list)
    for sample_id in sorted(labels, key=lambda i: hashlib.sha256(i.encode()).digest()):
        for stratum in strata[sample_id]:
            members[stratum].append(sample_id)
    rarest_first = sorted(members, key=lambda s: (len(members[s]), s))
    first = _one_of_each(strata, members, rarest_first)
    if len(first) > size:
        first = _one_of_each(strata, members, rarest_first[::-1])[:size]
    chosen = set(first)
    found = Counter(stratum for i in chosen for stratum in strata[i])
    share = {stratum: len(ids) * size / len(labels) for stratum, ids in members.items()}
    waiting = {stratum: iter(ids) for stratum, ids in members.items()}
    while len(chosen) < size:
        left = [stratum for stratum in rarest_first if found[stratum] < len(members[stratum])]
        neediest = max(left, key=lambda s: share[s] - found[s])
        sample_id = next(i for i in waiting[neediest] if i not in chosen)
        chosen.add(sample_id)
        found.update(strata[sample_id])
    return tuple(i for i in labels if i in chosen)


def _one_of_each(
    strata: Mapping[str, tuple[int, ...]], members: Mapping[int, Sequence[str]], order: Sequence[int]
) -> list[str]:
    """Images in which every stratum occurs: of each in `order` its first, unless an earlier one's image has it too."""
    chosen: list[str] = []
    found: set[int] = set()
    for stratum in order:
        if stratum not in found:
            chosen.append(members[stratum][0])
            found.update(strata[chosen[-1]])
    return chosen


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

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it can be sent to other processes: its class is made here and has no name to be found by."""
        return _again, (type(self).__bases__[1], self.__dict__)


def _again(kind: type[Dataset], state: dict[str, Any]) -> Dataset:
    made = object.__new__(part_of(kind))
    made.__dict__.update(state)
    return made


@cache
def part_of(kind: type[Dataset]) -> type[Dataset]:
    """A data set's class with `Part` before it."""
    return type(f"{kind.__name__}Part", (Part, kind), {})
