"""What `profile` measures of the single-stage methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from methods.base import Passage
from methods.dskd_gc.branch import build_branch
from methods.dskd_gc.config import CamStageConfig, CorrectedLabelConfig, PredictConfig, TrainingConfig
from methods.dskd_gc.network import DskdNetwork
from methods.layers.passages import CrfFinish, alone, multi_scale_cams, scales_text
from methods.refiners.gc.profile import correct
from methods.segmenters.stages import segmentation_probabilities


def train(settings: TrainingConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    """What is kept of the training, and what the training itself holds: student, projectors, contrast heads."""
    crop = settings.train.recipe.crop
    kept = build_branch(settings.network, classes).eval()
    whole = DskdNetwork(build_branch(settings.network, classes, settings.projection), settings).eval()
    trained = "teacher and student in training" if whole.student is not None else "teacher in training"
    return [
        alone("teacher", kept, crop, "network alone, to the decoder's prediction"),
        Passage(trained, "one forward pass of each, of the crop alone", (crop, crop), whole, _both),
    ]


def _both(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """Predictions and, with a student, the projections of both where there are any, else its tokens."""
    encoded = network.teacher.encode(images)
    outputs = [network.teacher.decoder(encoded.patches), network.teacher.classifier(encoded.patches)]
    if network.student is not None:
        tokens = network.student.encode(images)
        if network.teacher.projector is None:
            outputs.append(tokens.middle)
        else:
            outputs += [network.teacher.project(encoded.patches), network.student.project(tokens.patches)]
    return outputs


def cam(settings: CamStageConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    branch = build_branch(settings.network, classes).eval()
    return [multi_scale_cams(settings.which, branch, lambda m, x: m.activations(x), settings.inference, size)]


def pseudo_label(settings: CorrectedLabelConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    branch = build_branch(settings.network, classes).eval()
    finish = correct(settings.correction, settings.background_threshold)
    covers = "features, scale 1; Gaussian correction"
    return [Passage(settings.which, covers, size, branch, lambda m, x: m.features(x), finish)]


def predict(settings: PredictConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    """As it is tested: scales and mirror images, without and with the CRF where there is one."""
    test = settings.test

    def run(branch: nn.Module, images: torch.Tensor) -> torch.Tensor:
        return segmentation_probabilities(branch, images, test.scales, test.flip)

    covers = f"prediction, {scales_text(test.scales, test.flip)}"
    tested = Passage(settings.which, covers, size, build_branch(settings.network, classes).eval(), run)
    if test.crf is None:
        return [tested]
    return [tested, replace(tested, covers=f"{covers}; CRF", finish=CrfFinish(test.crf))]
