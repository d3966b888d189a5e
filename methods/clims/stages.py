"""Stages of CLIMS, and what guided trainings share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import save_file
from torch import nn

from datasets.loading.loader import Batch
from methods.base import StageContext
from methods.cam.network import PlainCam
from methods.clims.config import ClimsTrainingConfig, GuidedTrainingConfig
from methods.clims.losses import (
    area_regularisation,
    background_text_matching,
    co_occurring_background_suppression,
    object_text_matching,
)
from methods.clims.regions import Regions, encode_regions
from methods.layers.clip.model import ClipModel, load_clip
from methods.layers.optim import build_optimiser, fit
from methods.layers.weights.files import load_trained


def guide(context: StageContext, settings: ClimsTrainingConfig) -> None:
    """Train the CAM network so that CLIP finds the class in what its map keeps, and not in what it leaves out."""
    network = initial_network(context, settings)
    clip = guiding_clip(context, settings)
    class_text = text_features(clip, settings.texts.of_classes())[:, 0]
    common = clip.encode_texts(settings.texts.of_common_background())
    optimiser = build_optimiser(network, [network.classifier], settings.train)
    normalisation = network.normalisation

    def losses(wrapped: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        maps = wrapped(batch.images).sigmoid()
        regions = encode_regions(clip, batch.images, maps, batch.labels, normalisation, settings.composition)
        return weighted_losses(maps, regions, class_text, common, settings, context.processes)

    fit(context, network, optimiser, settings.train, normalisation, losses)
    save_file(network.state_dict(), context.output / "network.safetensors")


def weighted_losses(
    maps: torch.Tensor,
    regions: Regions,
    class_text: torch.Tensor,
    common: torch.Tensor,
    settings: ClimsTrainingConfig,
    processes: int = 1,
) -> dict[str, torch.Tensor]:
    """The four terms, weighted.

    maps: (B, C, h, w) in [0, 1]; class_text (C, D), common (L, D): unit-norm features
    processes: among which the batch is divided; the harness averages what the suppression sums
    """
    weights, text = settings.weights, class_text[regions.classes]
    factors = text.new_tensor(settings.class_factors)[regions.classes] if settings.class_factors else 1.0
    suppression = co_occurring_background_suppression(regions.foreground @ common.T, settings.threshold)
    return {
        "object_text": weights.object_text
        * object_text_matching((regions.foreground * text).sum(1), factors),
        "background_text": weights.background_text
        * background_text_matching((regions.background * text).sum(1), factors),
        "co_occurring": weights.co_occurring * processes * suppression,
        "area": weights.area * area_regularisation(maps),
    }


def initial_network(context: StageContext, settings: GuidedTrainingConfig) -> PlainCam:
    """The CAM network to train on: a trained classifier, or a pretrained backbone with a new one."""
    classes = len(context.view.classes)
    if settings.initialisation == "classifier":
        network = PlainCam.build(settings.network, classes)
        load_trained(network, context.inputs["weights"].path / "network.safetensors")
        return network
    return PlainCam.build(settings.network, classes, context.weights_path(settings.network.weights))


def guiding_clip(context: StageContext, settings: GuidedTrainingConfig) -> ClipModel:
    """The frozen CLIP, on the context's device."""
    return load_clip(settings.clip, context.weights_path(settings.clip.weights)).to(context.device)


def text_features(clip: ClipModel, texts: Sequence[Sequence[str]]) -> torch.Tensor:
    """C lists of L texts -> unit-norm features (C, L, D); computed once a training."""
    features = clip.encode_texts([text for of_class in texts for text in of_class])
    return features.unflatten(0, (len(texts), -1))
