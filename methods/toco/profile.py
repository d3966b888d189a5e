"""What `profile` measures of the single-stage methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from methods.base import ForwardPass, Inputs
from methods.layers.forward_passes import CrfFinish, alone, scales_text
from methods.layers.tiles import grid_of, tiled
from methods.refiners.gc.profile import correct
from methods.segmenters.profile import probabilities
from methods.toco.branch import Branch, build_branch
from methods.toco.config import CorrectedLabelConfig, PredictConfig, SingleStageTrainingConfig
from methods.toco.network import SingleStageNetwork


def train(
    settings: SingleStageTrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """What is kept of the training, and what the training itself holds: student, projectors, contrast heads."""
    crop = settings.train.recipe.crop
    kept = build_branch(settings.network, classes).eval()
    whole = SingleStageNetwork(build_branch(settings.network, classes, settings.projection), settings).eval()
    trained = "teacher and student in training" if whole.student is not None else "teacher in training"
    return [
        alone("teacher", kept, crop, "network alone, to the decoder's prediction"),
        ForwardPass(trained, "one forward pass of each, of the crop alone", (crop, crop), whole, _both),
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


def pseudo_label(
    settings: CorrectedLabelConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    branch = Branch.build(inputs["weights"].network, classes).eval()
    finish = correct(settings.correction, settings.background_threshold)
    covers = "features, scale 1; Gaussian correction"
    return [ForwardPass(settings.trained, covers, size, branch, lambda m, x: m.features(x), finish)]


def predict(
    settings: PredictConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """As it is tested: scales and mirror images, without and with the CRF where there is one."""
    test = settings.test

    def run(branch: nn.Module, images: torch.Tensor) -> torch.Tensor:
        forward = tiled(branch, test.tiles, test.batch_size, grid_of(branch))
        return probabilities(forward, images, test.scales, test.flip)

    covers = f"prediction, {scales_text(test.scales, test.flip, test.tiles)}"
    branch = Branch.build(settings.network, classes).eval()
    tested = ForwardPass(settings.trained, covers, size, branch, run)
    if test.crf is None:
        return [tested]
    return [tested, replace(tested, covers=f"{covers}; CRF", finish=CrfFinish(test.crf))]
