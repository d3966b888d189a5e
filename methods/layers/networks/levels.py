"""Levels of a convolutional backbone: what the networks of PSA, IRNet and SEAM see besides its output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import MethodError
from methods.layers.networks.backbones import Backbone
from methods.layers.networks.resnet38d import ResNet38d


class Levels:
    """The feature maps of a backbone that pass its taps, from shallow to deep, and its output.

    taps: (module, whether its input is meant instead of its output)
    """

    def __init__(self, taps: Iterable[tuple[nn.Module, bool]]) -> None:
        self._seen: list[torch.Tensor] | None = None
        for module, of_input in taps:
            module.register_forward_hook(self._keep_input if of_input else self._keep_output)

    def of(self, backbone: Backbone, images: torch.Tensor) -> list[torch.Tensor]:
        return backbone.in_parts(lambda part: self._found(backbone, part), images)

    def _found(self, backbone: Backbone, images: torch.Tensor) -> list[torch.Tensor]:
        seen: list[torch.Tensor] = []
        self._seen = seen
        try:
            last = backbone(images)
        finally:
            self._seen = None  # blocks that pass again when gradients are taken are not meant
        return [*seen, last]

    def _keep_input(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if self._seen is not None:
            self._seen.append(inputs[0])

    def _keep_output(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if self._seen is not None:
            self._seen.append(output)


class LastLevels:
    """Images (B, 3, H, W) -> a backbone's last three levels (B, C, h, w), shallow to deep, of the last one's size.

    Raises MethodError for a backbone in which they are not found; setting: of the backbone, for the message
    """

    def __init__(self, backbone: Backbone, setting: str) -> None:
        self._backbone = backbone
        self._levels = Levels(_taps(backbone, setting))

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        *finer, last = self._levels.of(self._backbone, images)
        return [*(_at(level, (last.shape[-2], last.shape[-1])) for level in finer), last]

    @torch.no_grad()
    def channels(self) -> list[int]:
        """Channels of the three levels."""
        side = 2 * self._backbone.output_stride
        self._backbone.eval()
        levels = self(torch.zeros(1, 3, side, side))
        self._backbone.train()
        return [level.shape[1] for level in levels]


def _at(level: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return level if tuple(level.shape[-2:]) == size else F.adaptive_avg_pool2d(level, size)


def _taps(backbone: Backbone, setting: str) -> list[tuple[nn.Module, bool]]:
    """The modules at the two levels before the last, each with whether the level is its input (True) or its output."""
    trunk: Any = backbone.trunk
    if isinstance(backbone.trunk, ResNet38d):  # conv4 and conv5 of PSA and SEAM: normalised and rectified
        return [(trunk.b5.conv_branch2a, True), (trunk.b6.conv_branch2a, True)]
    if hasattr(trunk, "layer4"):
        return [(trunk.layer3, True), (trunk.layer4, True)]
    if hasattr(trunk, "feature_info") and len(trunk.feature_info) > 2:
        return [(trunk.get_submodule(stage["module"]), False) for stage in trunk.feature_info[-3:-1]]
    if isinstance(getattr(trunk, "features", None), nn.Sequential):  # VGG16
        pools = [m for m in trunk.features if isinstance(m, nn.MaxPool2d)]
        return [(pool, False) for pool in pools[2:4]]
    raise MethodError(
        f"found no three levels in {type(trunk).__name__}; choose resnet38d, vgg16, resnet50, resnet101 or a "
        f"convolutional timm network as {setting}.name"
    )
