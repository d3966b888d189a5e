"""Stages that do not fit the memory: smaller batches under the same key, trainings in parts, and what is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmark.store import read_manifest
from datasets.files.images import write_labels
from datasets.recipe import IMAGENET, Recipe
from methods.artifacts import label_map_path
from methods.base import Kind, Stage
from methods.layers.config import BackboneConfig, CamInferenceConfig, TrainConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, fit
from results.io import read_run
from tests.helpers.toys import Toy, ToyConfig

MOST = {"images": 64}
"""Images for which the memory of these tests suffices."""
ERRORS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
    ),
    "host": MemoryError(),
}


@dataclass(frozen=True)
class HungryConfig(ToyConfig):
    """frozen: whether batch normalisation keeps its statistics; fails: which of `ERRORS` is raised"""

    train: TrainConfig = field(default_factory=lambda: TrainConfig(3, 6, recipe=Recipe(32, (32, 40))))
    inference: CamInferenceConfig = field(default_factory=lambda: CamInferenceConfig(batch_size=4))
    frozen: bool = True
    fails: str = "cuda"


class Hungry(Toy):
    """A training of a backbone, and label maps of images by batches."""

    config = HungryConfig
    presets = {"nano": HungryConfig()}  # noqa: RUF012

    def stages(self, config: Any, view: Any, shared: Any) -> list[Stage]:
        return [
            Stage("train", f"{__name__}:train", config, Kind.WEIGHTS),
            Stage("labels", f"{__name__}:label", config, Kind.PSEUDO_LABEL),
        ]


def take(images: torch.Tensor, settings: HungryConfig) -> None:
    if len(images) > MOST["images"]:
        raise ERRORS[settings.fails]


def label(context: Any, settings: HungryConfig) -> None:
    for _, samples in context.shards(context.view.samples("train")):
        for batch in context.images(samples, IMAGENET, settings.inference.batch_size):
            for sample_id, image in zip(batch.ids, batch.images):
                labels = (image.mean(0) > 0).to(torch.uint8).numpy()
                write_labels(label_map_path(context.output, sample_id), labels)
            take(batch.images, settings)


def train(context: Any, settings: HungryConfig) -> None:
    """Pairs of the batch's images are told apart, so that a loss of parts would be another one."""
    backbone = build_backbone(BackboneConfig("resnet38d_nano", "none", 4, freeze_bn=settings.frozen))
    trunk = backbone.trunk
    trunk.register_forward_hook(lambda module, inputs, output: take(inputs[0], settings))

    def losses(network: nn.Module, batch: Any) -> Mapping[str, torch.Tensor]:
        flat = nn.functional.normalize(network(batch.images).mean((2, 3)))
        return {"contrast": -(5 * flat @ flat.T).log_softmax(1).diagonal().mean()}

    fit(context, backbone, build_optimiser(backbone, [], settings.train), settings.train, IMAGENET, losses)
    save_file(backbone.state_dict(), context.output / "network.safetensors")


@pytest.fixture
def hungry(third_party, monkeypatch):
    """Registers the method, and says how many images fit."""
    third_party(Hungry("hungry"))
    return lambda images: monkeypatch.setitem(MOST, "images", images)


def manifest_of(store: Path, stage: str) -> dict[str, Any]:
    (path,) = store.glob(f"artifacts/{stage}/*/manifest.json")
    return read_manifest(path)


@pytest.mark.parametrize("fails", ERRORS)
def test_smaller_batches_under_the_same_key_give_the_same_maps(command_line, hungry, fails):
    found = []
    for images in (64, 1):
        hungry(images)
        place = f"runtime.store={command_line.folder / str(images)}"
        setting = f"method.hungry.fails={fails}"
        settings = [place, setting, "runtime.accumulate=auto"]
        done = command_line.run(
            "hungry", "--dataset", "bluefilm", *settings
        )  # whose pictures are of one size
        assert done.code == 0, done.out
        found.append(manifest_of(command_line.folder / str(images), "labels"))
    whole, halved = found
    assert halved["key"] == whole["key"]
    assert halved["files"] == whole["files"]
    assert "images_at_once" not in whole
    assert halved["images_at_once"] == 1
    said = [line for line in done.out.splitlines() if "· labels: " in line and "do not fit" in line]
    assert said == ["hungry · seed 0 · labels: 3 images at once do not fit the memory; going on with 1"]


def test_one_image_that_does_not_fit_is_a_failure(command_line, hungry):
    hungry(0)
    done = command_line.run("hungry", "runtime.accumulate=auto")
    assert done.code == 1
    (run,) = read_run(command_line.output).runs
    assert run["reason"] == (
        "stage train: out of memory in training with 6 images a step in 6 parts; set "
        "runtime.checkpoint_activations=true, or runtime.precision=bf16-mixed, or method.hungry.train.batch_size=3, "
        "another training"
    )


def test_a_training_says_which_settings_would_fit(command_line, hungry):
    hungry(2)
    done = command_line.run("hungry", "runtime.checkpoint_activations=true", "runtime.precision=bf16-mixed")
    assert done.code == 1
    assert (
        "failed: hungry seed 0: stage train: out of memory in training with 6 images a step; set "
        "runtime.accumulate=auto, which keeps the batch, or method.hungry.train.batch_size=3, another training\n"
    ) in done.out


def weights_and_losses(store: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    (folder,) = store.glob("artifacts/train/*")
    losses = json.loads((folder / "losses-1.json").read_text())
    return load_file(folder / "network.safetensors"), [point["contrast"] for point in losses]


@pytest.mark.parametrize("setting", ["runtime.accumulate=auto", "runtime.accumulate=3"])
def test_a_training_in_parts_is_that_of_the_whole_batch(command_line, hungry, setting):
    results = []
    for images, accumulate in ((64, "runtime.accumulate=1"), (2, setting)):
        hungry(images)
        store = command_line.folder / str(images)
        done = command_line.run("hungry", f"runtime.store={store}", accumulate)
        assert done.code == 0, done.out
        results.append(weights_and_losses(store))
    (weights, losses), (in_parts, losses_in_parts) = results
    assert losses_in_parts == pytest.approx(losses, rel=1e-5)
    assert all(torch.allclose(value, in_parts[name], rtol=1e-5, atol=1e-5) for name, value in weights.items())
    parts = 4 if "auto" in setting else 3  # auto doubles
    assert manifest_of(store, "train")["training_parts"] == parts
    stages = {path.parent.name: path.name for path in store.glob("artifacts/*/*")}
    assert stages == {
        path.parent.name: path.name for path in (command_line.folder / "64").glob("artifacts/*/*")
    }
    said = ["6 images does not fit", "6 images in 2 parts does not fit"] if "auto" in setting else []
    assert [
        text for text in ("6 images does not fit", "6 images in 2 parts does not fit") if text in done.out
    ] == said


def test_statistics_of_parts_are_said_and_noted_on_the_leaderboard(command_line, hungry):
    hungry(64)
    done = command_line.run("hungry", "method.hungry.frozen=false", "runtime.accumulate=2")
    said = "batch normalisation takes the statistics of 2 parts of each batch, not of the whole"
    assert done.out.count(said) == 1
    note = "batch normalisation took the statistics of 2 parts of each batch"
    stages = {stage["name"]: stage for stage in read_run(command_line.output).runs[0]["stages"]}
    assert stages["train"]["notes"] == [note]
    assert f"train: {note}" in (command_line.output / "report.md").read_text()


def test_an_unreadable_number_of_parts_is_one_line(command_line, hungry):
    done = command_line.run("hungry", "runtime.accumulate=0")
    assert done.code == 2
    assert done.err == "error: runtime.accumulate=0: must be auto or a whole number from 1 on\n"
