"""A whole method in one file: class activation maps of a classifier that pools by log-sum-exp, not by the mean.

Pinheiro and Collobert (CVPR 2015) train segmentation from image labels with this pooling: between the mean, which
rewards maps that are high everywhere, and the maximum, which rewards a single point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import multilabel_soft_margin_loss

from datasets.base import TrainingView
from datasets.loading.loader import Batch
from methods.base import Method, Shared, Stage, Supervision
from methods.cam.config import PRESETS, CamConfig, CamTrainingConfig
from methods.cam.network import PlainCam
from methods.pipeline import cam_stages, classify_stage, stages_after_cam

NETWORK = "minimal_method:LsePooling"
SHARPNESS = 4.0
"""0: the mean; infinite: the maximum."""


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, C): the log of the mean exponential over the positions."""
    count = maps.shape[-2] * maps.shape[-1]
    return ((SHARPNESS * maps).flatten(2).logsumexp(-1) - math.log(count)) / SHARPNESS


class LsePooling(PlainCam):
    def losses(self, forward: nn.Module, batch: Batch, settings: Any) -> Mapping[str, torch.Tensor]:
        return {"classification": multilabel_soft_margin_loss(pooled(forward(batch.images)), batch.labels)}

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        return pooled(self(images))


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
        training = CamTrainingConfig(config.backbone, config.train, dropout=config.dropout)
        classify = classify_stage(NETWORK, training, config.classifier_checkpoint)
        cam, scores = cam_stages(NETWORK, classify, config, shared)
        return [classify, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


METHOD = MinimalMethod()
