"""The named lists of images that people score: a data set's splits, and what other lists it has on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from datasets.base import Dataset
from datasets.subset import Part

SPLITS = ("train", "val")


@runtime_checkable
class HasLists(Protocol):
    """A data set with lists of its own beside the splits, such as VOC's train_aug."""

    def lists(self) -> Mapping[str, tuple[str, ...]]:
        """Name -> ids, in the list's order; lists without masks among them. Raises DataError."""


def named_lists(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Name -> ids. A list of the data set's own goes before a split of the same name, which may stand for another:
    VOC's `train` is 1 464 images, or 10 582 where train_aug is in use. A subset has its splits alone."""
    splits = {split: dataset.ids(split) for split in SPLITS}
    if not isinstance(dataset, HasLists) or isinstance(dataset, Part):
        return splits
    return splits | dict(dataset.lists())
