"""`verify --recompute`: a bundle's networks segment images of val again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark.bundles.check import Check, named
from benchmark.bundles.contents import Bundle, sampled
from benchmark.failures import ConfigError
from benchmark.prediction.networks import load
from benchmark.prediction.predict import segment
from datasets.base import Dataset, Sample
from datasets.files.images import read_labels
from datasets.files.places import resolved
from methods.artifacts import label_map_path

ALIKE = 0.999
"""Share of pixels that have to be equal: rounding differs between machines."""


def recomputation(weights: Path, images: int, dataset: Dataset, device: str) -> Callable[[Bundle], Check]:
    """A check that networks give the label maps of `images` images, drawn by the bundle's content.

    weights: folder of a trained network, as `run` prints it, or of a store's artifacts, in which each run's is looked
             up by its key. A run whose network is not there is noted, and the bundle is not re-run then
    """

    def check(bundle: Bundle) -> Check:
        result = Check("networks give label maps of their runs")
        compared = 0
        samples = {s.id: s for s in dataset.samples("val")}
        known = 0
        for run, trained, prediction in _predictions(bundle):
            folder = _folder(weights, trained)
            if folder is None:
                result.notes.append(f"{run['method']} seed {run['seed']}: its network {trained} is not there")
                continue
            known += 1
            compared += min(images, len(bundle.ids(prediction["score"]["split"])))
            result.faults += _unlike(bundle, folder, prediction, samples, images, device)
        if not known:
            raise ConfigError(
                f"--weights {weights}: no network of {bundle.path} is there; give the folder of one under the name that "
                "it has in the store, or the store's folder artifacts"
            )
        result.what = f"networks give {compared} label maps of their runs"
        return result

    return check


def _predictions(bundle: Bundle) -> Iterator[tuple[Mapping[str, Any], str, Mapping[str, Any]]]:
    """Each run that has segmented val, the key of the network that it trained last, and its prediction's stage."""
    for run in bundle.runs:
        trained = [stage["key"] for stage in run["stages"] if stage["kind"] == "weights"]
        for stage in run["stages"]:
            if stage["kind"] == "prediction" and stage.get("score") and trained:
                yield run, trained[-1], stage


def _folder(weights: Path, key: str) -> Path | None:
    """Where the artifact of a key is, below or at a folder."""
    if resolved(weights).name == key:
        return weights
    return next((found for found in (*weights.glob(key), *weights.glob(f"*/{key}")) if found.is_dir()), None)


def _unlike(
    bundle: Bundle,
    folder: Path,
    prediction: Mapping[str, Any],
    samples: Mapping[str, Sample],
    images: int,
    device: str,
) -> list[str]:
    """Images that the network gives other label maps, as faults."""
    ids = bundle.ids(prediction["score"]["split"])
    drawn = sampled(ids, bundle.digest())[:images]
    if missing := [i for i in drawn if i not in samples]:
        return [f"the data set at hand has no image {missing[0]!r:.60}"]
    unlike = []
    with TemporaryDirectory() as scratch:
        segment(load(folder), [samples[i] for i in drawn], Path(scratch), device)
        for image in drawn:
            ours = read_labels(label_map_path(Path(scratch), image)).numpy()
            theirs = bundle.label_map(prediction["key"], ids.index(image))
            if theirs is None or theirs.shape != ours.shape or np.mean(ours == theirs) < ALIKE:
                unlike.append(image)
    return named(unlike, f"{prediction['name']}: other label maps of")
