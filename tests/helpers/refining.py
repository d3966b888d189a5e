"""A few pictures with CAMs, and refiners' stages run on them as a run does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmark.config import RuntimeConfig
from benchmark.console import stage_progress
from benchmark.execution.context import RunContext
from benchmark.execution.distributed import make_fabric
from datasets.base import Sample, TrainingView
from datasets.files.images import read_labels
from methods.artifacts import Cam, label_map_path, write_cams
from methods.base import Artifact, Kind, Stage, function_of
from methods.refiners import refiner_stages
from methods.refiners.config import RefinerConfig
from tests.helpers.trees import write_image

CAM = Stage("cam", "tests:cam", None, Kind.CAM, fixed_threshold=0.3)
SIZES = [(32, 40), (32, 40), (30, 37), (32, 40)]
"""(H, W) of the pictures."""
LABELS = [(1,), (0, 2), (0, 2), ()]
"""Classes of each; the last has none."""


def context(view: TrainingView, inputs: Mapping[str, Artifact], output: Path) -> RunContext:
    runtime = RuntimeConfig(device="cpu", workers=1, shard=3, checkpoint_every=1)
    (output / ".scratch").mkdir(parents=True, exist_ok=True)
    return RunContext(make_fabric(runtime), runtime, view, inputs, output, 0, stage_progress("x"), None)


def run_refiner(refiner: RefinerConfig, folder: Path) -> dict[str, Path]:
    """Output folders of the refiner's stages by name, on pictures and CAMs that are written to `folder`."""
    view = pictures(folder)
    done = {"cam": Artifact(folder / "cam", "", Kind.CAM)}
    for stage in refiner_stages(refiner, CAM):
        inputs = {role: done[name] for role, name in stage.inputs.items()}
        output = folder / stage.name
        function_of(stage.run)(context(view, inputs, output), stage.settings)
        done[stage.name] = Artifact(output, "", stage.yields, stage.settings)
    return {name: artifact.path for name, artifact in done.items()}


def check_label_maps(folder: Path, others: frozenset[int] | set[int] = frozenset()) -> None:
    """Each label map has its picture's size, and the picture's classes only, besides `others`."""
    for i, (size, classes) in enumerate(zip(SIZES, LABELS)):
        labels = read_labels(label_map_path(folder, str(i)))
        assert labels.shape == size
        assert set(labels.unique().tolist()) <= {0, *(c + 1 for c in classes)} | others


def pictures(folder: Path) -> TrainingView:
    samples = []
    for i, ((height, width), labels) in enumerate(zip(SIZES, LABELS)):
        path = folder / "images" / f"{i}.png"
        write_image(path, i, size=(width, height))
        samples.append(Sample(str(i), path, labels))
    source = np.random.default_rng(0)
    maps = {s.id: source.random((len(s.labels), 8, 10)).astype(np.float16) for s in samples}
    (folder / "cam").mkdir()
    write_cams(
        folder / "cam" / "shard.safetensors",
        {s.id: Cam(maps[s.id], s.labels, size) for s, size in zip(samples, SIZES)},
    )
    return TrainingView("test", ("a", "b", "c"), {"train": tuple(samples)})
