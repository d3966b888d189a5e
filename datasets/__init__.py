"""Data sets of the benchmark. (This folder shadows Hugging Face's `datasets` when run from the root.)"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets.base import Dataset, DatasetConfig

_MODULES = {
    "shapes": "datasets.shapes",
    "bluefilm": "datasets.bluefilm",
    "voc2012": "datasets.voc",
    "folder": "datasets.folder",
}


def names() -> list[str]:
    return list(_MODULES)


def dataset_class(name: str) -> type[Dataset]:
    """The `Dataset` subclass registered as `name`; KeyError if there is none."""
    return importlib.import_module(_MODULES[name]).DATASET  # type: ignore[no-any-return]


def open_dataset(config: DatasetConfig) -> Dataset:
    """The data set that a configuration says, or the part of it that `config.subset` asks for."""
    kind = dataset_class(config.name)
    if config.subset:
        from datasets.subset import part_of

        kind = part_of(kind)
    return kind(config)  # type: ignore[call-arg]
