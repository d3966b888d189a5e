"""Data sets of the benchmark. `wsss_benchmark` puts this package before Hugging Face's of the same name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets.base import Dataset, DatasetConfig
    from datasets.files.preparing import Request

_MODULES = {
    "shapes": "datasets.shapes.dataset",
    "bluefilm": "datasets.bluefilm.dataset",
    "voc2012": "datasets.voc.reader",
    "coco2014": "datasets.coco.reader",
    "folder": "datasets.folder.reader",
}

_PREPARERS = {"voc2012": "datasets.voc.prepare", "coco2014": "datasets.coco.prepare"}


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


def preparable() -> list[str]:
    """Names of the data sets that are made from downloaded archives."""
    return list(_PREPARERS)


def preparer(name: str) -> Callable[[Request], list[str]]:
    """What makes a data set's layout from its downloads; KeyError if there is none."""
    return importlib.import_module(_PREPARERS[name]).PREPARE  # type: ignore[no-any-return]
