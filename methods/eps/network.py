"""EPS's network: a backbone and a 1x1 classifier to C + 1 maps (Lee et al., CVPR 2021, Sec. 3.1)."""

from __future__ import annotations

import torch
from torch import nn

from methods.layers.networks.backbones import Backbone


class EpsNetwork(nn.Module):
    """Images (N, 3, H, W) -> logits of the localisation maps (N, C + 1, h, w), background last.

    classifier: the module that learns at the head's rate
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Conv2d(backbone.channels, classes + 1, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.backbone(images))  # type: ignore[no-any-return]
