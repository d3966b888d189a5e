"""Settings that make a run of the real methods a matter of seconds: few images, few iterations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from benchmark.config import compose, plain

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


def sizes(methods: Sequence[str]) -> list[str]:
    """Overrides of those settings in `SIZES` that each method has."""
    config = compose(methods)
    return [
        f"method.{name}.{key}={value}"
        for name in methods
        for key, value in SIZES.items()
        if OmegaConf.select(OmegaConf.create(plain(config.method[name])), key) is not None
    ]


def data(folder: Path) -> list[str]:
    """A few generated pictures, drawn under `folder`."""
    return [f"dataset.root={folder}", "dataset.train=24", "dataset.val=12", "runtime.processes=1"]
