"""EPS's network: a backbone and a 1x1 classifier to C + 1 maps (Lee et al., CVPR 2021, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from datasets.base import DenseMap
from datasets.files.images import read_map
from datasets.loading.loader import Batch, image_batches
from methods.base import StageContext
from methods.cam.network import PlainCam
from methods.eps.config import JointTrainingConfig
from methods.eps.losses import SaliencyLoss, classification_loss, saliency_loss
from methods.layers.cam import resize
from methods.layers.config import CamInferenceConfig, CamStageConfig
from methods.layers.networks.backbones import Backbone
from methods.layers.saliency.stage import saliency_dense_map
from methods.layers.tiles import grid_of, tiled
from methods.pictures import write_picture


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
        saliency = estimate(logits, batch.dense_maps["saliency"], batch.labels, settings)
        return {"classification": classification_loss(logits, batch.labels), "saliency": saliency.loss}

    @classmethod
    def cam(cls, context: StageContext, settings: CamStageConfig) -> None:
        """Stage: multi-scale CAMs; of the images that reports show also the saliency that they are trained to (Eq. 1).

        With a stage `saliency` among the inputs: a released network was not trained here.
        """
        super().cam(context, settings)
        if "saliency" in context.inputs:
            cls._show_saliency(context, context.inputs["weights"].settings, settings.inference)

    @classmethod
    @torch.inference_mode()
    def _show_saliency(
        cls, context: StageContext, training: JointTrainingConfig, inference: CamInferenceConfig
    ) -> None:
        """Leave the saliency that is given and the one that the localisation maps estimate as pictures."""
        network = cls.trained(context)
        forward = tiled(network, inference.tiles, 1, grid_of(network))
        given = cls.dense_maps(context, training)["saliency"]
        shown = image_batches(
            context.view.examples(),
            len(context.view.classes),
            network.normalisation,
            1,
            device=context.device,
        )
        for batch in shown:
            (sample_id,) = batch.ids
            saliency = read_map(given.path_of(sample_id)).to(context.device) / 255
            estimated = estimate(forward(batch.images), saliency[None, None], batch.labels, training)
            whole = resize(estimated.estimated_saliency, batch.size)[0, 0]
            write_picture(context.output, "estimated saliency", sample_id, whole)
            write_picture(context.output, "given saliency", sample_id, saliency)

    def maps(self, images: torch.Tensor, settings: Any) -> torch.Tensor:
        """Softmax over C + 1, of the object classes."""
        return self(images).softmax(1)[:, :-1]  # type: ignore[no-any-return]

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """Globally averaged object maps, as in L_cls."""
        return self(images)[:, :-1].mean((2, 3))  # type: ignore[no-any-return]


def estimate(
    logits: torch.Tensor, saliency: torch.Tensor, labels: torch.Tensor, settings: JointTrainingConfig
) -> SaliencyLoss:
    """`saliency_loss` by the training's settings."""
    return saliency_loss(
        logits,
        saliency,
        labels,
        settings.overlap_threshold,
        settings.foreground_weight,
        settings.map_selection,
        settings.predefined_background,
    )
