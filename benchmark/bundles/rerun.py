"""`verify --recompute`: a bundle's network segments images of val again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark.bundles.contents import Bundle, sampled
from benchmark.bundles.verify import Check, named
from benchmark.failures import ConfigError
from benchmark.prediction.networks import load
from benchmark.prediction.predict import segment
from datasets.base import Dataset
from datasets.files.images import read_labels
from methods.artifacts import label_map_path

ALIKE = 0.999
"""Share of pixels that have to be equal: rounding differs between machines."""


def recomputation(weights: Path, images: int, dataset: Dataset, device: str) -> Callable[[Bundle], Check]:
    """A check that the network in a folder gives the label maps of `images` images, drawn by the bundle's content.

    weights: folder of a trained network, as `run` prints it; its name is the key that the bundle's run has
    """

    def check(bundle: Bundle) -> Check:
        predictions = _prediction_of(bundle, weights.resolve().name)
        result = Check(f"its network gives {images} of its label maps")
        ids = bundle.ids(predictions["score"]["split"])
        drawn = sampled(ids, bundle.digest())[:images]
        samples = {s.id: s for s in dataset.samples("val")}
        if missing := [i for i in drawn if i not in samples]:
            result.faults.append(f"the data set at hand has no image {missing[0]!r:.60}")
            return result
        unlike = []
        with TemporaryDirectory() as scratch:
            segment(load(weights), [samples[i] for i in drawn], Path(scratch), device)
            for image in drawn:
                ours = read_labels(label_map_path(Path(scratch), image)).numpy()
                theirs = bundle.label_map(predictions["key"], ids.index(image))
                if theirs is None or theirs.shape != ours.shape or np.mean(ours == theirs) < ALIKE:
                    unlike.append(image)
        result.faults += named(unlike, "other label maps of")
        return result

    return check


def _prediction_of(bundle: Bundle, key: str) -> Mapping[str, Any]:
    """The prediction stage of the run that trained the network `key`."""
    for run in bundle.runs:
        if any(stage["key"] == key for stage in run["stages"]):
            for stage in run["stages"]:
                if stage["kind"] == "prediction":
                    return stage  # type: ignore[no-any-return]
    raise ConfigError(
        f"--weights: no run of {bundle.path} has trained {key}; give the folder of one of its networks, under the name "
        "that it has in the store"
    )
