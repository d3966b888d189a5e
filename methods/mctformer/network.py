"""MCTformer-V2's network and loss (Xu et al., CVPR 2022; Eq. 1 and 7 to 11 of Li et al., Journal of Software 2025)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.loading.loader import Batch
from datasets.recipe import Normalisation
from methods.layers.cam import min_max
from methods.layers.cam_network import CamClassifier
from methods.layers.config import VitConfig
from methods.layers.networks.vit import MultiClassTokenViT, Observer, build_vit, whole_patches
from methods.layers.weights.released import Rule, renamed
from methods.mctformer.cam import CamStages, cam_stages
from methods.mctformer.config import AttendedCamConfig

_RELEASED: tuple[Rule, ...] = (
    (r"norm\..*", None),  # saved, but V2's forward pass leaves it out
    (r"(patch_embed|blocks)\..*", r"vit.trunk.\g<0>"),
)


class Output(NamedTuple):
    """class_scores: (B, C), Eq. 7; patch_cam: (B, C, h, w), Original-CAM before any activation, Eq. 1."""

    class_scores: torch.Tensor
    patch_cam: torch.Tensor


class MctformerNetwork(CamClassifier):
    """A transformer with C class tokens, and a 3x3 convolution of its output patch tokens to C maps."""

    steps = "refined by attention; "

    def __init__(self, vit: MultiClassTokenViT) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Conv2d(vit.channels, vit.num_classes, 3, padding=1)

    @classmethod
    def build(cls, config: VitConfig, classes: int, weights: Path | None = None) -> Self:
        return cls(build_vit(config, classes, weights))

    @property
    def normalisation(self) -> Normalisation:
        return self.vit.normalisation

    def heads(self) -> list[nn.Module]:
        return [self.head]

    def forward(
        self, images: torch.Tensor, layers: Collection[int] = (), observe: Observer | None = None
    ) -> Output:
        """Images (B, 3, H, W), sides multiples of the patch; `layers` and `observe` as the transformer's."""
        tokens = self.vit(images, layers, observe)
        return Output(tokens.classes.mean(2), self.head(tokens.patches))

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay."""
        return {f"vit.{name}" for name in self.vit.no_weight_decay()}

    def losses(self, forward: nn.Module, batch: Batch, settings: Any) -> Mapping[str, torch.Tensor]:
        return classification_losses(forward(batch.images), batch.labels)

    def refined(self, images: torch.Tensor, settings: Any) -> CamStages:
        """The CAMs refined by class-to-patch and patch-to-patch attention, and those before; from one forward pass."""
        return cam_stages(self, images, settings.attention, per_patch=self.per_patch(settings))

    def attention(self, images: torch.Tensor, settings: Any) -> Mapping[str, torch.Tensor]:
        return {"class-to-patch attention": self.refined(images, settings).class_to_patch}

    @staticmethod
    def per_patch(settings: AttendedCamConfig) -> bool:
        """Whether the attention is made comparable between scales and tiles; a whole map alone is min-maxed."""
        return len(settings.inference.scales) > 1 or settings.inference.tiles.on

    def maps(self, images: torch.Tensor, settings: AttendedCamConfig) -> torch.Tensor:
        cams = self.refined(images, settings)
        return torch.cat([cams.final, *(getattr(cams, name) for name in settings.intermediate)], dim=1)

    @staticmethod
    def folders(settings: AttendedCamConfig) -> tuple[str, ...]:
        return ("", *settings.intermediate)

    @staticmethod
    def to_unit(maps: torch.Tensor) -> torch.Tensor:
        return min_max(maps)

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Of the class tokens (Eq. 7)."""
        return self(whole_patches(images, self.vit.patch_size)).class_scores  # type: ignore[no-any-return]

    def names(self, state: Mapping[str, torch.Tensor], config: Any) -> Mapping[str, torch.Tensor]:
        """Of a checkpoint of MCTformer's code (V2): class tokens' positions are apart from the patches'."""
        found = dict(state)
        if "cls_token" in found and "pos_embed" in found:
            tokens, positions = found.pop("cls_token"), found.pop("pos_embed")
            classes = tokens.shape[1]
            found["vit.class_tokens"] = tokens
            found["vit.class_positions"] = positions[:, :classes]
            found["vit.patch_positions"] = positions[:, classes:]
        return renamed(found, _RELEASED)


def classification_losses(output: Output, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Multi-label soft margin losses of the class tokens (Eq. 8) and of the pooled CAM (Eq. 9, 10); Eq. 11 sums.

    labels: (B, C), 0 or 1. The paper prints Eq. 8 and 10 without their minus sign.
    """
    return {
        "class_tokens": multilabel_soft_margin_loss(output.class_scores, labels),
        "patches": multilabel_soft_margin_loss(output.patch_cam.mean((2, 3)), labels),
    }
