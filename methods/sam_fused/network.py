"""The network of P1: a transformer with C class tokens, its CAM, and class token contrast (Sec. 2.1, 2.2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.loading.loader import Batch
from datasets.recipe import Normalisation
from methods.base import MethodError
from methods.layers.cam import normalise
from methods.layers.cam_network import CamClassifier
from methods.layers.config import VitConfig
from methods.layers.local_crops import uncertain_crops
from methods.layers.moving_average import average
from methods.layers.networks.vit import MultiClassTokenViT, build_vit, whole_patches
from methods.layers.token_losses import class_token_contrast
from methods.mctformer.network import Output, classification_losses
from methods.sam_fused.config import ContrastConfig, ContrastedTrainingConfig


class Contrasted(NamedTuple):
    """What the contrast is made of, of the I images that have a class.

    auxiliary_scores: (B, C), logits of the auxiliary classifier, of all images
    local: ((1 + n) I, K), projections F of the images' own tokens and of their n crops', crop by crop
    whole: (2 I, K), projections G of the images' tokens, twice over, without gradient
    positive: (I, 1 + n): 1 for the image itself and for crops of its non-salient region
    """

    auxiliary_scores: torch.Tensor
    local: torch.Tensor
    whole: torch.Tensor
    positive: torch.Tensor


class ClassTokenContrast(nn.Module):
    """The auxiliary classifier and both projections: linear, then of unit length; G is the moving average of F."""

    def __init__(self, channels: int, classes: int, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.auxiliary = nn.Conv2d(channels, classes, 1, bias=False)
        self.projection = nn.Linear(channels, config.outputs)
        self.average = copy.deepcopy(self.projection).requires_grad_(False)

    def local(self, tokens: torch.Tensor) -> torch.Tensor:
        """F: (N, D) -> (N, K)."""
        return F.normalize(self.projection(tokens), dim=-1)

    @torch.no_grad()
    def whole(self, tokens: torch.Tensor) -> torch.Tensor:
        """G, averaged first: θ_G = ρ θ_G + (1 - ρ) θ_F. (N, D) -> (N, K)."""
        average(self.average, self.projection, self.config.momentum)
        return F.normalize(self.average(tokens), dim=-1)


class SamFusedNetwork(CamClassifier):
    """A transformer with C class tokens, a convolution of its patch tokens to the CAM, and CTC.

    contrast: None leaves CTC out
    """

    in_training = ("contrast.*",)

    def __init__(self, vit: MultiClassTokenViT, contrast: ContrastConfig | None = None) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Conv2d(vit.channels, vit.num_classes, 3, padding=1)
        self.contrast = None
        self._block = 0
        if contrast is not None:
            if not 1 <= contrast.auxiliary_layer <= vit.depth:
                raise MethodError(
                    f"contrast.auxiliary_layer={contrast.auxiliary_layer}: the transformer has {vit.depth} layers; "
                    f"choose 1 (the last) to {vit.depth}"
                )
            if any(contrast.size % side for side in vit.patch_size):
                raise MethodError(
                    f"contrast.size={contrast.size} is no multiple of the patch {vit.patch_size}; choose one that is"
                )
            self._block = vit.depth - contrast.auxiliary_layer
            self.contrast = ClassTokenContrast(vit.channels, vit.num_classes, contrast)

    @classmethod
    def build(cls, config: VitConfig, classes: int, weights: Path | None = None) -> Self:
        return cls(build_vit(config, classes, weights))

    @classmethod
    def build_for_training(
        cls, settings: ContrastedTrainingConfig, classes: int, weights: Path | None
    ) -> Self:
        return cls(build_vit(settings.network, classes, weights), settings.contrast)

    @property
    def normalisation(self) -> Normalisation:
        return self.vit.normalisation

    def heads(self) -> list[nn.Module]:
        return [self.head] if self.contrast is None else [self.head, self.contrast]

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that do not decay."""
        return {f"vit.{name}" for name in self.vit.no_weight_decay()}

    def losses(
        self, forward: nn.Module, batch: Batch, settings: ContrastedTrainingConfig
    ) -> Mapping[str, torch.Tensor]:
        """Of image labels and class token contrast (Eq. 1, 2)."""
        output, contrasted = forward(batch.images, batch.labels)
        return training_losses(output, contrasted, batch.labels, settings.contrast)

    def maps(self, images: torch.Tensor, settings: Any = None) -> torch.Tensor:
        """Rectified class maps (Eq. 1)."""
        patches = self.vit(whole_patches(images, self.vit.patch_size)).patches
        return self.head(patches).relu()  # type: ignore[no-any-return]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Of the class tokens."""
        return self.vit(whole_patches(images, self.vit.patch_size)).classes.mean(2)

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor | None = None
    ) -> tuple[Output, Contrasted | None]:
        """A training step's outputs. images: (B, 3, H, W), sides multiples of the patch; labels: (B, C), 0 or 1.

        labels: needed with contrast
        """
        if self.contrast is None or labels is None:
            tokens = self.vit(images)
            return Output(tokens.classes.mean(2), self.head(tokens.patches)), None
        tokens, middle = self.vit.with_middle(images, self._block)
        output = Output(tokens.classes.mean(2), self.head(tokens.patches))
        return output, self._contrasted(self.contrast, images, labels, tokens.classes, middle)

    def _contrasted(
        self,
        contrast: ClassTokenContrast,
        images: torch.Tensor,
        labels: torch.Tensor,
        classes: torch.Tensor,
        middle: torch.Tensor,
    ) -> Contrasted:
        config = contrast.config
        maps = contrast.auxiliary(middle)
        some = labels.any(1)
        weights = labels[some] if config.token == "present" else torch.ones_like(labels[some])
        weights = weights / weights.sum(1, keepdim=True)
        own = torch.einsum("bc,bcd->bd", weights, classes[some])
        if not len(own):  # attention refuses empty batches
            nothing = torch.ones(0, 1 + config.crops, dtype=torch.bool, device=images.device)
            return Contrasted(maps.mean((2, 3)), contrast.local(own), contrast.whole(own), nothing)
        with torch.no_grad():
            cam = normalise(maps[some].relu()) * labels[some][:, :, None, None]
            confidence = F.interpolate(
                cam.amax(1, keepdim=True), images.shape[-2:], mode="bilinear", align_corners=False
            )[:, 0]
            crops, positive = uncertain_crops(
                images[some],
                confidence,
                config.crops,
                config.size,
                config.low,
                config.high,
                config.negative_below,
            )
        parts = torch.einsum("bc,bcd->bd", weights.repeat(config.crops, 1), self.vit(crops).classes)
        whole = contrast.whole(own)
        itself = torch.ones(len(own), 1, dtype=torch.bool, device=images.device)
        return Contrasted(
            maps.mean((2, 3)),
            contrast.local(torch.cat([own, parts])),
            whole.repeat(2, 1),
            torch.cat([itself, positive], dim=1),
        )


def training_losses(
    output: Output, contrasted: Contrasted | None, labels: torch.Tensor, config: ContrastConfig | None
) -> dict[str, torch.Tensor]:
    """MCTformer's classification losses, and of CTC that of the auxiliary classifier and Eq. 2."""
    terms = classification_losses(output, labels)
    if contrasted is None or config is None:
        return terms
    auxiliary = multilabel_soft_margin_loss(contrasted.auxiliary_scores, labels)
    terms["auxiliary"] = config.auxiliary_weight * auxiliary
    if len(contrasted.positive):
        loss = class_token_contrast(
            contrasted.local, contrasted.whole, contrasted.positive, config.temperature
        )
    else:
        loss = contrasted.local.sum()  # of nothing: no image of the batch has a class
    terms["class_contrast"] = config.weight * loss
    return terms
