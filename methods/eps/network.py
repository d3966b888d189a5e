"""EPS's network: a backbone and a 1x1 classifier to C + 1 maps (Lee et al., CVPR 2021, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from datasets.base import DenseMap
from datasets.loading.loader import Batch
from methods.base import StageContext
from methods.cam.network import PlainCam
from methods.eps.config import JointTrainingConfig
from methods.eps.losses import classification_loss, saliency_loss
from methods.layers.networks.backbones import Backbone
from methods.layers.saliency.stage import saliency_dense_map


class EpsNetwork(PlainCam):
    """Images (N, 3, H, W) -> logits of the localisation maps (N, C + 1, h, w), background last."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__(backbone, classes + 1)

    @classmethod
    def dense_maps(cls, context: StageContext, settings: JointTrainingConfig) -> Mapping[str, DenseMap]:
        return {"saliency": saliency_dense_map(settings.saliency, context.inputs["saliency"].path)}

    def losses(
        self, forward: nn.Module, batch: Batch, settings: JointTrainingConfig
    ) -> Mapping[str, torch.Tensor]:
        """The joint training on image labels and saliency (Sec. 3.3)."""
        logits = forward(batch.images)
        saliency = saliency_loss(
            logits,
            batch.dense_maps["saliency"],
            batch.labels,
            settings.overlap_threshold,
            settings.foreground_weight,
            settings.map_selection,
            settings.predefined_background,
        )
        return {"classification": classification_loss(logits, batch.labels), "saliency": saliency.loss}

    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        """Softmax over C + 1, of the object classes."""
        return self(images).softmax(1)[:, :-1]  # type: ignore[no-any-return]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Globally averaged object maps, as in L_cls."""
        return self(images)[:, :-1].mean((2, 3))  # type: ignore[no-any-return]
