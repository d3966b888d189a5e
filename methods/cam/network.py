"""Plain CAM's network: a backbone and a 1x1 classifier, trained by the labels of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.loading.loader import Batch
from datasets.recipe import Normalisation, View
from methods.cam.config import CamTrainingConfig
from methods.layers.cam_network import CamClassifier
from methods.layers.networks.backbones import Backbone, BackboneConfig, build_backbone
from methods.layers.weights.released import CAM_NETWORK, renamed, require_undilated


class PlainCam(CamClassifier):
    """Images (B, 3, H, W) -> maps of the classes (B, C, h, w), before any activation; by a 1x1 layer without bias.

    dropout: drops channels of the features in training, with a probability that `build_for_training` sets
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(0.0)
        self.classifier = nn.Conv2d(backbone.channels, classes, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    @classmethod
    def build(cls, config: BackboneConfig, classes: int, weights: Path | None = None) -> Self:
        return cls(build_backbone(config, weights), classes)

    @classmethod
    def build_for_training(cls, settings: CamTrainingConfig, classes: int, weights: Path | None) -> Self:
        network = super().build_for_training(settings, classes, weights)
        network.dropout.p = settings.dropout
        return network

    @staticmethod
    def views(settings: Any) -> Sequence[View]:
        """Further crops of an image, as many as `CamConfig.crops` has."""
        crops = settings.crops if isinstance(settings, CamTrainingConfig) else 1
        return [settings.train.recipe] * (crops - 1)

    @property
    def normalisation(self) -> Normalisation:
        return self.backbone.normalisation

    def heads(self) -> list[nn.Module]:
        return [self.classifier]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.dropout(self.backbone(images)))  # type: ignore[no-any-return]

    def losses(self, forward: nn.Module, batch: Batch, settings: Any) -> Mapping[str, torch.Tensor]:
        """Multi-label soft margin loss of the globally averaged maps; of several crops, of each class's highest.

        An image is a bag of its crops: a class that it has is somewhere in it, one that it lacks is in none of them.
        """
        scores = forward(torch.cat([batch.images, *batch.views])).mean((2, 3))
        highest = scores.unflatten(0, (1 + len(batch.views), -1)).amax(0)
        return {"classification": multilabel_soft_margin_loss(highest, batch.labels)}

    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        return self(images).relu()  # type: ignore[no-any-return]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        return self(images).mean((2, 3))  # type: ignore[no-any-return]

    def names(self, state: Mapping[str, torch.Tensor], config: BackboneConfig) -> Mapping[str, torch.Tensor]:
        """Of a checkpoint of PSA's, EPS's, IRNet's or CLIMS's code."""
        require_undilated(state, config, "backbone")
        return renamed(state, CAM_NETWORK)
