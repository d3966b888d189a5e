"""An image as a bag of crops: they are cut where the recipe says, and its labels are held to the highest logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss
from torch.testing import assert_close

from benchmark.config import plain
from datasets.base import Sample, TrainingView
from datasets.loading.loader import Batch
from datasets.recipe import IMAGENET, Recipe
from methods.base import Shared
from methods.cam.config import PRESETS, CamTrainingConfig
from methods.cam.network import PlainCam
from methods.layers.config import BackboneConfig, TrainConfig
from methods.registry import find_method
from tests.helpers.refining import context
from tests.helpers.trees import write_image

RECIPE = Recipe(crop=32, flip=0)
SETTINGS = CamTrainingConfig(BackboneConfig("resnet38d_nano", "none", 4), TrainConfig(recipe=RECIPE), crops=3)


class Brightness(nn.Module):
    """A map of the logit of one class, which is the pixels' value."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1]


def _batch(crops: torch.Tensor) -> Batch:
    """crops: (crops, B, 3, H, W), of images that have the class or lack it, in turn."""
    labels = (torch.arange(crops.shape[1]) % 2 == 0).float()[:, None]
    valid = torch.ones(crops.shape[1], 1, *crops.shape[3:], dtype=torch.bool)
    return Batch(("a", "b"), crops[0], labels, {}, valid, tuple(crops[1:]))


def test_the_loss_is_of_the_highest_crop_of_each_image(seeded: None) -> None:
    network = PlainCam.build(SETTINGS.network, 1)
    crops = torch.randn(3, 2, 3, 8, 8).requires_grad_()
    loss = network.losses(Brightness(), _batch(crops), SETTINGS)["classification"]
    scores = crops[:, :, 0].mean((2, 3))
    assert_close(loss, multilabel_soft_margin_loss(scores.amax(0)[:, None], torch.tensor([[1.0], [0.0]])))
    loss.backward()
    assert crops.grad is not None
    learned_from = crops.grad.abs().amax((2, 3, 4)) > 0
    assert torch.equal(learned_from, scores == scores.amax(0))


def test_one_crop_is_the_plain_loss(seeded: None) -> None:
    network = PlainCam.build(SETTINGS.network, 1)
    crops = torch.randn(1, 2, 3, 8, 8)
    loss = network.losses(Brightness(), _batch(crops), replace(SETTINGS, crops=1))["classification"]
    labels = torch.tensor([[1.0], [0.0]])
    assert_close(loss, multilabel_soft_margin_loss(crops[0, :, :1].mean((2, 3)), labels))
    assert PlainCam.views(replace(SETTINGS, crops=1)) == []


def test_crops_are_other_parts_of_the_image_at_its_resolution(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 1, (150, 90))
    sample = Sample("a", tmp_path / "a.png", (0,))
    view = TrainingView("drawn", ("cat",), {"train": (sample,), "val": ()})
    run = context(view, {}, tmp_path / "out")
    source = run.train_batches([sample], RECIPE, IMAGENET, 1, views=PlainCam.views(SETTINGS))
    (batch,) = source(0, 1)
    (whole,) = run.images([sample], IMAGENET, 1)
    windows = whole.images[0].unfold(1, 32, 1).unfold(2, 32, 1)  # (3, rows, columns, 32, 32)
    found = []
    for crop in (batch.images, *batch.views):
        distance = (windows - crop[0][:, None, None]).abs().amax((0, 3, 4))
        assert distance.min() < 1e-4
        found.append(int(distance.argmin()))
    assert len(found) == 3
    assert len(set(found)) == 3


def test_a_method_hands_its_crops_to_the_training() -> None:
    view = TrainingView("shapes", ("cat",), {"train": (), "val": ()})
    for name in ("cam", "activation"):
        method = find_method(name)
        config = method.presets["nano"]
        one, four = (
            method.stages(replace(config, crops=crops), view, Shared())[0].settings  # type: ignore[call-arg]
            for crops in (1, 4)
        )
        assert four == replace(one, crops=4)
        assert "crops" not in plain(one)  # keys from before the setting was there stay
        assert plain(four)["crops"] == 4
    assert "crops" not in plain(PRESETS["paper"])
