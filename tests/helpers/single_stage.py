"""DSKD-GC and ToCo small enough for unit tests: settings, network and a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from datasets.base import TrainingView
from datasets.loading.loader import Batch
from methods.dskd_gc import METHOD
from methods.toco import METHOD as TOCO
from methods.toco.branch import build_branch
from methods.toco.config import SingleStageConfig, SingleStageTrainingConfig
from methods.toco.network import SingleStageNetwork

METHODS = {"dskd_gc": METHOD, "toco": TOCO}
CLASSES = ("a", "b", "c")
VIEW = TrainingView("toy", CLASSES, {"train": (), "val": ()})
ITERATIONS = 9


def tiny(name: str) -> SingleStageConfig:
    """The nano preset without pretrained weights, on pictures of 32 pixels, in three phases of three iterations."""
    config = METHODS[name].presets["nano"]
    assert isinstance(config, SingleStageConfig)
    train = replace(config.train, iterations=ITERATIONS, batch_size=2, warmup=1)
    return replace(
        config,
        vit=replace(config.vit, weights="none"),
        train=replace(train, recipe=replace(train.recipe, crop=32)),
        phases=replace(config.phases, warm_up=1 / 3, segmentation=2 / 3),
        class_contrast=replace(config.class_contrast, size=16, crops=2),
        inference=replace(config.inference, scales=(1.0,)),
        test=replace(config.test, scales=(1.0,)),
    )


def network(
    name: str, config: SingleStageConfig | None = None
) -> tuple[SingleStageNetwork, SingleStageTrainingConfig]:
    """Of a method's tiny settings, or of others."""
    torch.manual_seed(0)
    settings = (config or tiny(name)).training()
    branch = build_branch(settings.network, len(CLASSES), settings.projection)
    return SingleStageNetwork(branch, settings).train(), settings


def batch(seed: int = 0, images: int = 2) -> Batch:
    source = torch.Generator().manual_seed(seed)
    labels = torch.zeros(images, 3)
    labels[:, 0] = labels[0, 2] = 1
    valid = torch.ones(images, 1, 32, 32, dtype=torch.bool)
    return Batch(("0",) * images, torch.randn(images, 3, 32, 32, generator=source), labels, {}, valid)


def changed(change: dict[str, Any]) -> SingleStageConfig:
    """The tiny settings with some changed: one, or several of a part."""
    config = tiny("dskd_gc")
    parts = {
        key: replace(getattr(config, key), **value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    return replace(config, **parts)
