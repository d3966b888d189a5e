"""Checkpoints of the papers' own code in place of a training: the stage that reads one, and names that are shared.

A checkpoint is taken whole or not at all: names that the code saves twice (a module under two attributes) or uses in
training alone are listed and left out, every other name and shape has to fit. Light to import (no torch).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.base import Kind, MethodError, Stage, StageContext
from methods.layers.config import BackboneConfig, ReleasedConfig
from methods.layers.weights.files import NONE, load_into, load_state

if TYPE_CHECKING:
    import torch
    from torch import nn

Rule = tuple[str, str | Callable[[re.Match[str]], str] | None]
"""Pattern of a released name, and this project's; None: left out."""
Names = Callable[[Mapping[str, "torch.Tensor"]], Mapping[str, "torch.Tensor"]]

UNDILATED = "resnet50_undilated"
RESNET38D: tuple[Rule, ...] = ((r"(conv1a|b[2-7](_\d)?|bn7)\..*", r"backbone.trunk.\g<0>"),)
"""The trunk of PSA, SEAM and EPS."""
RESNET50: tuple[Rule, ...] = (
    (r"resnet50\.(.*)", r"backbone.trunk.\1"),
    (r"(stage\d|backbone\.\d|newly_added\.\d)\..*", None),
)
"""The trunk of IRNet and CLIMS, whose parts have second names."""
CAM_NETWORK: tuple[Rule, ...] = ((r"fc8\.weight", "classifier.weight"), *RESNET38D, *RESNET50)
"""Classifiers of PSA, EPS, IRNet and CLIMS: a trunk and a 1x1 convolution."""


def released_stage(name: str, run: str, checkpoint: str, network: Any) -> Stage:
    """The stage that stands where `name` would train. The file's content is in its key, whatever the seed."""
    if checkpoint == NONE:
        raise MethodError(
            f"checkpoint {NONE!r} in place of stage {name}: give a file, or null to train the network"
        )
    settings = ReleasedConfig(checkpoint, network)
    return Stage(name, run, settings, Kind.WEIGHTS, pretrained=(checkpoint,), seeded=False)


def released_path(context: StageContext, settings: ReleasedConfig) -> Path:
    path = context.weights_path(settings.checkpoint)
    assert path is not None  # see `released_stage`
    return path


def write_released(
    context: StageContext,
    settings: ReleasedConfig,
    network: nn.Module,
    names: Names,
    file: str = "network.safetensors",
) -> None:
    """Write the network with the checkpoint's weights. MethodError where anything does not fit.

    names: the checkpoint's state -> the same under the network's names
    """
    from safetensors.torch import save_file

    path = released_path(context, settings)
    load_into(network, names(load_state(path)), source=path)
    save_file(network.state_dict(), context.output / file)


def renamed(state: Mapping[str, torch.Tensor], rules: Sequence[Rule]) -> dict[str, torch.Tensor]:
    """A state under the names that the first fitting rule gives; names that none fits stay."""
    found = {}
    for key, value in state.items():
        name: str | None = key
        for pattern, replacement in rules:
            if (match := re.fullmatch(pattern, key)) is not None:
                if replacement is None:
                    name = None
                else:
                    name = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
                break
        if name is not None:
            found[name] = value
    return found


def require_undilated(state: Mapping[str, torch.Tensor], backbone: BackboneConfig, setting: str) -> None:
    """MethodError where the weights are of IRNet's ResNet-50, and the backbone is another that they would fit.

    setting: of the backbone
    """
    if "resnet50.conv1.weight" in state and backbone.name != UNDILATED:
        raise MethodError(
            f"the checkpoint is of IRNet's and CLIMS's ResNet-50, which has no dilation, and not of {backbone.name}; "
            f"set {setting}.name={UNDILATED}"
        )
