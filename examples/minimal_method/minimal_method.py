"""A whole method in one file: class activation maps of a classifier that pools by log-sum-exp, not by the mean.

Pinheiro and Collobert (CVPR 2015) train segmentation from image labels with this pooling: between the mean, which
rewards maps that are high everywhere, and the maximum, which rewards a single point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.base import TrainingView
from datasets.loading.loader import Batch
from methods.base import Method, Shared, Stage, StageContext, Supervision
from methods.cam import METHOD as CAM
from methods.cam.config import PRESETS, CamConfig, ClassifyConfig
from methods.cam.stages import CamNetwork
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, schedule

SHARPNESS = 4.0
"""0: the mean; infinite: the maximum."""


def classify(context: StageContext, settings: ClassifyConfig) -> None:
    """Stage: train the classifier with image labels."""
    backbone = build_backbone(settings.backbone, context.weights_path(settings.backbone.weights))
    network = CamNetwork(backbone, backbone.channels, len(context.view.classes))
    train, samples = settings.train, context.view.samples("train")
    batches = context.train_batches(samples, train.recipe, backbone.normalisation, train.batch_size)
    optimiser = build_optimiser(network, [network.classifier], train)
    context.train(network, optimiser, losses, batches, train.iterations, schedule(train))
    save_file(network.state_dict(), context.output / "network.safetensors")


def losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
    return {"classification": multilabel_soft_margin_loss(pooled(network(batch.images)), batch.labels)}


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, C): the log of the mean exponential over the positions."""
    count = maps.shape[-2] * maps.shape[-1]
    return ((SHARPNESS * maps).flatten(2).logsumexp(-1) - math.log(count)) / SHARPNESS


class MinimalMethod(Method):
    name = "minimal"
    title = "Log-sum-exp CAM"
    paper = "Pinheiro and Collobert, From Image-level to Pixel-level Labeling with CNNs, CVPR 2015"
    summary = "class activation maps pooled by log-sum-exp: an example of a plug-in"
    needs = "image labels, a pretrained backbone"
    supervision = frozenset({Supervision.LABELS})
    config = CamConfig
    presets = PRESETS

    def stages(self, config: CamConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        """Those of plain CAM but for the training; image scores would need this pooling, too, and are left out."""
        classify, *others = CAM.stages(config, view, shared)
        own = replace(classify, run="minimal_method:classify")
        return [own, *(stage for stage in others if stage.name != "image_scores")]


METHOD = MinimalMethod()
