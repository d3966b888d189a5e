"""Stages of plain CAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.loading.loader import Batch
from methods.base import StageContext
from methods.cam.config import CamStageConfig, ClassifyConfig
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.image_scores import write_classifications
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, schedule
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import (
    CAM_NETWORK,
    ReleasedConfig,
    renamed,
    require_undilated,
    write_released,
)


class CamNetwork(nn.Module):
    """A backbone and a 1x1 classifier without bias; its map of class c is c's activation map.

    forward: (B, 3, H, W) -> (B, C, h, w), before any activation.
    """

    def __init__(self, backbone: nn.Module, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Conv2d(channels, classes, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.backbone(images))


def classify(context: StageContext, settings: ClassifyConfig) -> None:
    """Train the classifier with image labels."""
    backbone = build_backbone(settings.backbone, context.weights_path(settings.backbone.weights))
    network = CamNetwork(backbone, backbone.channels, len(context.view.classes))
    optimiser = build_optimiser(network, [network.classifier], settings.train)
    batches = context.train_batches(
        context.view.samples("train"),
        settings.train.recipe,
        backbone.normalisation,
        settings.train.batch_size,
    )
    context.train(
        network,
        optimiser,
        classification_losses,
        batches,
        settings.train.iterations,
        schedule(settings.train),
    )
    save_file(network.state_dict(), context.output / "network.safetensors")


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The network of a checkpoint of PSA's, IRNet's or CLIMS's code; settings.network: its backbone."""
    backbone = build_backbone(settings.network)
    network = CamNetwork(backbone, backbone.channels, len(context.view.classes))

    def names(state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        require_undilated(state, settings.network, "backbone")
        return renamed(state, CAM_NETWORK)

    write_released(context, settings, network, names)


def classification_losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
    """Multi-label soft margin loss of the globally averaged maps."""
    return {"classification": multilabel_soft_margin_loss(network(batch.images).mean((2, 3)), batch.labels)}


def cam(context: StageContext, settings: CamStageConfig) -> None:
    """Multi-scale CAMs of the training images: ReLU, sum over scales and mirror images, / maximum."""
    network = trained_network(context, settings)
    normalisation: Any = network.backbone.normalisation
    write_multi_scale_cams(context, lambda images: network(images).relu(), normalisation, settings.inference)


def image_scores(context: StageContext, settings: CamStageConfig) -> None:
    """The classifier's logits of the validation images: globally averaged maps."""
    network = trained_network(context, settings)
    normalisation: Any = network.backbone.normalisation
    write_classifications(
        context, lambda images: network(images).mean((2, 3)), normalisation, settings.inference.batch_size
    )


def trained_network(context: StageContext, settings: CamStageConfig) -> CamNetwork:
    """The network with the weights that the stage is handed."""
    backbone = build_backbone(settings.backbone)
    network = CamNetwork(backbone, backbone.channels, len(context.view.classes))
    load_trained(network, context.inputs["weights"].path / "network.safetensors")
    return network.to(context.device).eval()
