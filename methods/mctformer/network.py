"""MCTformer-V2's network and loss (Xu et al., CVPR 2022; Eq. 1 and 7 to 11 of Li et al., Journal of Software 2025)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from methods.layers.config import VitConfig
from methods.layers.networks.vit import MultiClassTokenViT, Observer, build_vit


class Output(NamedTuple):
    """class_scores: (B, C), Eq. 7; patch_cam: (B, C, h, w), Original-CAM before any activation, Eq. 1."""

    class_scores: torch.Tensor
    patch_cam: torch.Tensor


class MctformerNetwork(nn.Module):
    """A transformer with C class tokens, and a 3x3 convolution of its output patch tokens to C maps."""

    def __init__(self, vit: MultiClassTokenViT) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Conv2d(vit.channels, vit.num_classes, 3, padding=1)

    def forward(
        self, images: torch.Tensor, layers: Collection[int] = (), observe: Observer | None = None
    ) -> Output:
        """Images (B, 3, H, W), sides multiples of the patch; `layers` and `observe` as the transformer's."""
        tokens = self.vit(images, layers, observe)
        return Output(tokens.classes.mean(2), self.head(tokens.patches))

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay."""
        return {f"vit.{name}" for name in self.vit.no_weight_decay()}


def build_network(config: VitConfig, classes: int, weights_path: Path | None = None) -> MctformerNetwork:
    """Network of a configuration; the transformer starts from `weights_path` (None: random)."""
    return MctformerNetwork(build_vit(config, classes, weights_path))


def classification_losses(output: Output, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Multi-label soft margin losses of the class tokens (Eq. 8) and of the pooled CAM (Eq. 9, 10); Eq. 11 sums.

    labels: (B, C), 0 or 1. The paper prints Eq. 8 and 10 without their minus sign.
    """
    return {
        "class_tokens": multilabel_soft_margin_loss(output.class_scores, labels),
        "patches": multilabel_soft_margin_loss(output.patch_cam.mean((2, 3)), labels),
    }
