"""The stages of CA-CL and CLIMS up to their CAMs, on a tiny run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.config import RuntimeConfig
from benchmark.console import stage_progress
from benchmark.execution.context import RunContext
from benchmark.execution.distributed import make_fabric
from datasets.base import Sample, TrainingView
from methods.artifacts import CamReader
from methods.base import Artifact, Kind, Shared, function_of
from methods.ca_cl import METHOD
from methods.ca_cl.config import PRESETS, LossWeights
from methods.clims import METHOD as CLIMS
from methods.clims.config import PRESETS as CLIMS_PRESETS
from methods.clims.config import ClimsConfig
from methods.layers.clip.config import NANO, ClipConfig
from tests.helpers.trees import write_image

PICTURES = ((40, 48), (40, 48), (48, 40), (40, 48))


def tiny(config: Any) -> Any:
    """As configured, with an untrained CLIP and trainings of two iterations."""
    small = {"iterations": 2, "batch_size": 2, "warmup": 1}
    crop = replace(config.train.recipe, crop=32)
    return replace(
        config,
        backbone=replace(config.backbone, weights="none"),
        clip=ClipConfig(NANO, "none"),
        classifier=replace(config.classifier, **small, recipe=crop),
        train=replace(config.train, **small, recipe=crop),
        inference=replace(config.inference, scales=(1.0,)),
    )


def run_to_cam(method: Any, config: Any, folder: Path) -> Mapping[str, Path]:
    samples = []
    for i, (height, width) in enumerate(PICTURES):
        path = folder / "images" / f"{i}.png"
        write_image(path, i, size=(width, height))
        samples.append(Sample(str(i), path, (0, 2) if i else (1,)))
    view = TrainingView(
        "shapes", ("boat", "cat", "train"), {"train": tuple(samples), "val": tuple(samples[:1])}
    )
    runtime = RuntimeConfig(device="cpu", workers=1, shard=3, checkpoint_every=1)
    done: dict[str, Artifact] = {}
    for stage in method.stages(config, view, Shared()):
        inputs = {role: done[name] for role, name in stage.inputs.items()}
        output = folder / stage.name
        (output / ".scratch").mkdir(parents=True)
        progress = stage_progress(stage.name)
        context = RunContext(make_fabric(runtime), runtime, view, inputs, output, 0, progress, None)
        torch.manual_seed(0)
        function_of(stage.run)(context, stage.settings)
        done[stage.name] = Artifact(output, "", stage.yields, stage.settings)
        if stage.yields == Kind.CAM:
            break
    return {name: artifact.path for name, artifact in done.items()}


@pytest.mark.parametrize("initialisation", ["classifier", "backbone"])
def test_ca_cl_stages(tmp_path: Path, initialisation: str) -> None:
    config = replace(tiny(PRESETS["nano"]), initialisation=initialisation)
    paths = run_to_cam(METHOD, config, tmp_path)
    guidance = json.loads((paths["guide"] / "guidance.json").read_text())
    assert sum(map(sum, guidance["prompt_choices"].values())) in range(4, 9)  # 1 or 2 classes an image
    assert len(guidance["threshold"]) == len(guidance["selected"]) == 2
    assert guidance["threshold"][0] == pytest.approx(config.suppression.initial)
    assert config.suppression.lower <= guidance["final_threshold"] <= config.suppression.upper
    assert guidance["at_bound"] is None
    (history,) = paths["guide"].glob("losses-*.json")
    assert {"contrast", "suppression", "area"} <= set(json.loads(history.read_text())[-1])
    reader = CamReader(paths["cam"])
    assert set(reader.ids) == {"0", "1", "2", "3"}
    assert reader["1"].maps.shape == (2, 10, 12)


def test_the_iteration_at_which_the_threshold_reaches_a_bound_is_kept(tmp_path: Path) -> None:
    config = tiny(PRESETS["nano"])
    quick = replace(config.suppression, initial=0.4499, learning_rate=1.0)
    guidance = run_to_cam(METHOD, replace(config, suppression=quick), tmp_path)["guide"] / "guidance.json"
    assert json.loads(guidance.read_text())["at_bound"] == 1


def test_without_suppression_nothing_is_said_of_its_threshold(tmp_path: Path) -> None:
    paths = run_to_cam(METHOD, replace(tiny(PRESETS["nano"]), weights=LossWeights(suppression=0.0)), tmp_path)
    guidance = json.loads((paths["guide"] / "guidance.json").read_text())
    assert set(guidance) == {"prompts", "prompt_choices"}
    (history,) = paths["guide"].glob("losses-*.json")
    assert set(json.loads(history.read_text())[-1]) == {"iteration", "contrast", "area"}


def test_clims_stages(tmp_path: Path) -> None:
    config: ClimsConfig = tiny(CLIMS_PRESETS["nano"])
    paths = run_to_cam(CLIMS, replace(config, activation="sigmoid"), tmp_path)
    (history,) = paths["guide"].glob("losses-*.json")
    terms = {"object_text", "background_text", "co_occurring", "area"}
    assert terms <= set(json.loads(history.read_text())[-1])
    assert len(CamReader(paths["cam"]).ids) == 4
