"""Settings that make a run of the real methods a matter of seconds: few images, few iterations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from methods.registry import find_method

SIZES = {
    "train.iterations": "6",
    "train.batch_size": "4",
    "train.warmup": "1",
    "classifier.iterations": "6",
    "classifier.batch_size": "4",
    "classifier.warmup": "1",
    "inference.scales": "[1.0]",
    "refiner.psa.train.iterations": "4",
    "refiner.psa.train.batch_size": "4",
    "refiner.psa.train.warmup": "1",
    "refiner.irn.train.iterations": "4",
    "refiner.irn.train.batch_size": "4",
    "refiner.irn.train.warmup": "1",
    "fusion.train.iterations": "4",
    "fusion.train.batch_size": "4",
    "fusion.train.warmup": "1",
    "views.count": "2",
    "segmenter.train.iterations": "6",
    "segmenter.train.batch_size": "4",
    "segmenter.train.warmup": "1",
    "segmenter.test_scales": "[1.0]",
}


def sizes(methods: Sequence[str], iterations: int | None = None) -> list[str]:
    """Overrides of those settings in `SIZES` that each method has; iterations: of every training, in place of those."""
    return [
        f"method.{name}.{key}={iterations if iterations and key.endswith('iterations') else value}"
        for name in methods
        for key, value in SIZES.items()
        if _part(find_method(name).preset("nano", "paper"), key) is not None
    ]


def _part(settings: Any, key: str) -> Any:
    """What lies under a key with dots; None where there is nothing."""
    return reduce(lambda part, name: getattr(part, name, None), key.split("."), settings)


def data(folder: Path) -> list[str]:
    """A few generated pictures, drawn under `folder`."""
    return [f"dataset.root={folder}", "dataset.train=24", "dataset.val=12", "runtime.processes=1"]
