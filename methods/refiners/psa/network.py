"""PSA's affinity network: features of three levels of a backbone, and affinities of pairs of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from datasets.base import IGNORE
from methods.base import MethodError
from methods.layers.networks.backbones import Backbone
from methods.layers.networks.resnet38d import ResNet38d
from methods.refiners.affinity_labels import affinity_labels, cell_labels
from methods.refiners.random_walk import Offsets

LEVEL_WIDTHS = (64, 128, 256)
"""Channels that each level, from shallow to deep, is reduced to."""
EPSILON = 1e-5


class AffinityNetwork(nn.Module):
    """1x1 convolutions of three levels, concatenated to 448 channels, and a 1x1 convolution of these.

    forward: images (B, 3, H, W), sides multiples of the backbone's output stride -> (B, F, h, w)
    head:    the new layers
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self._levels: list[torch.Tensor] = []
        for module, of_input in _taps(backbone):
            module.register_forward_hook(self._keep_input if of_input else self._keep_output)
        widths = [width // backbone.head_divisor for width in LEVEL_WIDTHS]
        reduce = [nn.Conv2d(c, width, 1, bias=False) for c, width in zip(self._channels(), widths)]
        for convolution in reduce:
            nn.init.kaiming_normal_(convolution.weight)
        self.reduce = nn.ModuleList(reduce)
        self.fuse = nn.Conv2d(sum(widths), sum(widths), 1, bias=False)
        nn.init.xavier_uniform_(self.fuse.weight, gain=4)

    @property
    def head(self) -> Sequence[nn.Module]:
        return (self.reduce, self.fuse)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        levels = [F.elu(conv(level)) for conv, level in zip(self.reduce, self._pyramid(images))]
        return F.elu(self.fuse(torch.cat(levels, 1)))

    def _pyramid(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The three levels, shallow to deep, at the last one's resolution."""
        self._levels.clear()
        last = self.backbone(images)
        finer = [F.avg_pool2d(x, x.shape[-1] // last.shape[-1]) for x in self._levels]
        self._levels.clear()
        return [*finer, last]

    @torch.no_grad()
    def _channels(self) -> list[int]:
        side = 2 * self.backbone.output_stride
        self.backbone.eval()
        levels = self._pyramid(torch.zeros(1, 3, side, side))
        self.backbone.train()
        return [level.shape[1] for level in levels]

    def _keep_input(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._levels.append(inputs[0])

    def _keep_output(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self._levels.append(output)


def _taps(backbone: Backbone) -> list[tuple[nn.Module, bool]]:
    """The modules at the two levels before the last, each with whether the level is its input (True) or its output."""
    trunk: Any = backbone.trunk
    if isinstance(backbone.trunk, ResNet38d):  # PSA's conv4 and conv5: normalised and rectified
        return [(trunk.b5.conv_branch2a, True), (trunk.b6.conv_branch2a, True)]
    if hasattr(trunk, "layer4"):
        return [(trunk.layer3, True), (trunk.layer4, True)]
    if hasattr(trunk, "feature_info") and len(trunk.feature_info) > 2:
        return [(trunk.get_submodule(stage["module"]), False) for stage in trunk.feature_info[-3:-1]]
    if isinstance(getattr(trunk, "features", None), nn.Sequential):  # VGG16
        pools = [m for m in trunk.features if isinstance(m, nn.MaxPool2d)]
        return [(pool, False) for pool in pools[2:4]]
    raise MethodError(
        f"refiner psa finds no three levels in {type(trunk).__name__}; choose resnet38d, vgg16, "
        f"resnet50, resnet101 or a convolutional timm network as refiner.psa.backbone.name"
    )


def pair_affinities(features: torch.Tensor, offsets: Offsets) -> torch.Tensor:
    """exp(-mean_f |f(y, x) - f(y + dy, x + dx)|) (Eq. 3): (B, F, h, w) -> (B, P, h, w) in (0, 1].

    Values of pairs that leave the grid mean nothing.
    """
    height, width = features.shape[-2:]
    reach = _reach(offsets)
    padded = F.pad(features, (reach, reach, 0, reach))
    # One offset at a time: the difference of all would be 34 times the features' size.
    distances = [
        F.l1_loss(
            features, padded[..., dy : dy + height, reach + dx : reach + dx + width], reduction="none"
        ).mean(1)
        for dy, dx in offsets
    ]
    return torch.exp(-torch.stack(distances, 1))


def affinity_losses(
    affinities: torch.Tensor, labels: torch.Tensor, stride: int, offsets: Offsets
) -> dict[str, torch.Tensor]:
    """Cross-entropy of the pairs that are alike and unlike (Eq. 4 to 7): background / 4, foreground / 4, negative / 2.

    affinities: (B, P, h, w); labels: (B, h * stride, w * stride), 0 background, 255 ignored
    Over all pairs inside the picture, as the equations say; see the refiner's deviations.
    """
    reach = _reach(offsets)
    cells = F.pad(cell_labels(labels, stride), (reach, reach, 0, reach), value=IGNORE)
    pairs = affinity_labels(cells, offsets)
    alike, unlike = -torch.log(affinities + EPSILON), -torch.log(1 + EPSILON - affinities)
    return {
        "background": _mean(alike, pairs.background_positive) / 4,
        "foreground": _mean(alike, pairs.foreground_positive) / 4,
        "negative": _mean(unlike, pairs.negative) / 2,
    }


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum() / (where.sum() + EPSILON)


def _reach(offsets: Offsets) -> int:
    return max(max(abs(dy), abs(dx)) for dy, dx in offsets)
