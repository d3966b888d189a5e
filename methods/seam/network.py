"""SEAM's network: a classifier of 1 + C maps, and the pixel correlation module (PCM) that refines them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from datasets.loading.loader import Batch
from methods.cam.network import PlainCam
from methods.layers.networks.backbones import Backbone, BackboneConfig
from methods.layers.networks.levels import LastLevels
from methods.layers.weights.released import RESNET38D, Rule, renamed
from methods.seam.config import SeamTrainingConfig
from methods.seam.losses import EPSILON, contrast_stretched, seam_losses, strongest

WIDTHS = (64, 128)
"""Channels that PCM's two levels are reduced to; with the image's three they are joined to 64 + 128."""
RELEASED: tuple[Rule, ...] = (
    (r"fc8\.weight", "classifier.weight"),
    (r"f8_3\.weight", "reduce.0.weight"),
    (r"f8_4\.weight", "reduce.1.weight"),
    (r"f9\.weight", "join.weight"),
    *RESNET38D,
)


class SeamNetwork(PlainCam):
    """Images (B, 3, H, W) -> maps of background and classes before and after PCM, two of (B, 1 + C, H, W)."""

    title = "CAM network with PCM"

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__(backbone, 1 + classes)
        self._levels = LastLevels(backbone, "method.seam.backbone")
        *shallow, _ = self._levels.channels()
        widths = [width // backbone.head_divisor for width in WIDTHS]
        reduce = [nn.Conv2d(c, w, 1, bias=False) for c, w in zip(shallow, widths)]
        for convolution in reduce:
            nn.init.kaiming_normal_(convolution.weight)
        self.reduce = nn.ModuleList(reduce)
        self.join = nn.Conv2d(3 + sum(widths), sum(widths), 1, bias=False)
        nn.init.xavier_uniform_(self.join.weight, gain=4)

    def heads(self) -> list[nn.Module]:
        return [self.classifier, self.reduce, self.join]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        size = (images.shape[-2], images.shape[-1])
        maps, refined = self._maps(images)
        return aligned(maps, size), aligned(refined, size)

    def _maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the network's own resolution, (B, 1 + C, h, w)."""
        *shallow, last = self._levels(images)
        return self.from_levels(images, shallow, last)

    def from_levels(
        self, images: torch.Tensor, shallow: list[torch.Tensor], last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps before and after PCM, (B, 1 + C, h, w), of a backbone's levels.

        PCM compares cells by features that the trunk does not learn from, and refines maps without a gradient.
        """
        maps = self.classifier(self.dropout(last))
        reduced = [conv(level.detach()).relu() for conv, level in zip(self.reduce, shallow)]
        small = aligned(images, (last.shape[-2], last.shape[-1]))
        features = self.join(torch.cat([small, *reduced], 1))
        return maps, correlated(features, exclusive(maps.detach()))

    def losses(
        self, forward: nn.Module, batch: Batch, settings: SeamTrainingConfig
    ) -> Mapping[str, torch.Tensor]:
        """Classification, refined maps that are small elsewhere, and equivariance of both (`losses.seam_losses`)."""
        side = int(batch.images.shape[-1] * settings.small_view)
        views = [forward(images) for images in (batch.images, aligned(batch.images, (side, side)))]
        return seam_losses(views[0], views[1], batch.labels, settings.hard_share)

    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        return self._maps(images)[1][:, 1:]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        return self._maps(images)[0][:, 1:].mean((2, 3))

    @staticmethod
    def to_unit(maps: torch.Tensor) -> torch.Tensor:
        return contrast_stretched(maps).clamp(min=0)

    def names(self, state: Mapping[str, torch.Tensor], config: BackboneConfig) -> Mapping[str, torch.Tensor]:
        """Of a checkpoint of SEAM's code."""
        return renamed(state, RELEASED)


def aligned(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resampling of (B, K, h, w) to (B, K, *size) with aligned corners, as SEAM's training has it."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def exclusive(maps: torch.Tensor) -> torch.Tensor:
    """What PCM refines: (B, 1 + C, h, w) raw maps -> [0, 1], of whose C classes each cell keeps the strongest.

    A class's map is divided by its maximum; the background is 1 - their maximum, whatever its own map says.
    """
    objects = maps[:, 1:].relu()
    objects = (objects - EPSILON).relu() / (objects.amax((2, 3), keepdim=True) + EPSILON)
    return strongest(torch.cat([1 - objects.amax(1, keepdim=True), objects], 1))


def correlated(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """PCM: a cell's map becomes the mean of all cells' maps, weighted by the rectified cosine of their features.

    features: (B, F, h, w); maps: (B, K, h, w) -> (B, K, h, w)
    """
    size = features.shape[-2:]
    flat = features.flatten(2)
    flat = flat / (flat.norm(dim=1, keepdim=True) + EPSILON)
    affinities = (flat.transpose(1, 2) @ flat).relu()  # (B, hw, hw)
    # Dividing the product by each column's sum is dividing the columns, for a K-th of the memory.
    weights = affinities.sum(1, keepdim=True) + EPSILON
    return (maps.flatten(2) @ affinities / weights).unflatten(2, size)
