"""PSA's affinity network: features of three levels of a backbone, and affinities of pairs of cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from datasets.base import IGNORE
from methods.layers.networks.backbones import Backbone
from methods.layers.networks.levels import LastLevels
from methods.refiners.affinity_labels import affinity_labels, cell_labels
from methods.refiners.pair_losses import EPSILON, pair_mean
from methods.refiners.random_walk import Offsets

LEVEL_WIDTHS = (64, 128, 256)
"""Channels that each level, from shallow to deep, is reduced to."""


class AffinityNetwork(nn.Module):
    """1x1 convolutions of three levels, concatenated to 448 channels, and a 1x1 convolution of these.

    forward: images (B, 3, H, W), sides multiples of the backbone's output stride -> (B, F, h, w)
    head:    the new layers
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self._levels = LastLevels(backbone, "refiner.psa.backbone")
        widths = [width // backbone.head_divisor for width in LEVEL_WIDTHS]
        reduce = [nn.Conv2d(c, width, 1, bias=False) for c, width in zip(self._levels.channels(), widths)]
        for convolution in reduce:
            nn.init.kaiming_normal_(convolution.weight)
        self.reduce = nn.ModuleList(reduce)
        self.fuse = nn.Conv2d(sum(widths), sum(widths), 1, bias=False)
        nn.init.xavier_uniform_(self.fuse.weight, gain=4)

    @property
    def head(self) -> Sequence[nn.Module]:
        return (self.reduce, self.fuse)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        levels = [F.elu(conv(level)) for conv, level in zip(self.reduce, self._levels(images))]
        return F.elu(self.fuse(torch.cat(levels, 1)))


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
        "background": pair_mean(alike, pairs.background_positive) / 4,
        "foreground": pair_mean(alike, pairs.foreground_positive) / 4,
        "negative": pair_mean(unlike, pairs.negative) / 2,
    }


def _reach(offsets: Offsets) -> int:
    return max(max(abs(dy), abs(dx)) for dy, dx in offsets)
