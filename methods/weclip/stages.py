"""Stages of WeCLIP: one training; maps and predictions of its network; and what `profile` counts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from datasets.base import IGNORE
from datasets.loading.loader import Batch
from methods.base import ForwardPass, Inputs, StageContext
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.clip.patches import to_unit
from methods.layers.forward_passes import CrfFinish, alone, scales_text
from methods.layers.optim import build_optimiser, fit
from methods.layers.tiles import grid_of, tiled
from methods.layers.upsampling import enlarged
from methods.layers.weights.files import load_trained
from methods.segmenters.stages import segmentation_probabilities, write_label_maps
from methods.toco.losses import balanced_segmentation_loss
from methods.weclip.config import PredictConfig, WeclipCamConfig, WeclipNetworkConfig, WeclipTrainingConfig
from methods.weclip.labels import refined_labels
from methods.weclip.losses import affinity_labels, affinity_loss, window
from methods.weclip.network import Learner, Output, WeclipNetwork

FILE = "network.safetensors"
TITLE = "frozen CLIP with a decoder"


def train(context: StageContext, settings: WeclipTrainingConfig) -> None:
    """Train fusion and decoder on labels of the step's own maps. Writes network.safetensors, the encoder included."""
    config: WeclipNetworkConfig = settings.network
    weights = context.weights_path(config.clip.weights)
    network = WeclipNetwork.for_training(config, len(context.view.classes), weights)
    learner = Learner(network, round(config.correction.start * settings.train.iterations))
    fit(
        context,
        learner,
        build_optimiser(network, network.heads(), settings.train),
        settings.train,
        network.normalisation,
        lambda wrapped, batch: losses(wrapped(batch.images, batch.labels), batch, settings),
    )
    save_file(network.state_dict(), context.output / FILE)


def losses(output: Output, batch: Batch, settings: WeclipTrainingConfig) -> Mapping[str, torch.Tensor]:
    """The weighted terms, by labels of the maps."""
    labels = refined_labels(batch.images, output.maps, batch.labels > 0, settings.par_iterations)
    if settings.ignore_padding:
        labels = torch.where(batch.valid[:, 0], labels, IGNORE)
    weights = settings.weights
    segmentation = balanced_segmentation_loss(enlarged(output.logits, labels.shape[-2:]), labels)
    terms = {"segmentation": weights.segmentation * segmentation}
    if weights.affinity > 0:
        near = window(output.grid, settings.radius, labels.device)
        loss, _, _ = affinity_loss(output.affinity, affinity_labels(labels, output.grid, near))
        terms["affinity"] = weights.affinity * loss
    return terms


def _trained(context: StageContext, config: WeclipNetworkConfig) -> WeclipNetwork:
    network = WeclipNetwork.build(config, len(context.view.classes))
    load_trained(network, context.inputs["weights"].path / FILE)
    return network.to(context.device).eval()


def cam(context: StageContext, settings: WeclipCamConfig) -> None:
    """Write the maps of the training images' present classes, corrected by what the decoder has learned."""
    network = _trained(context, context.inputs["weights"].settings.network)
    write_multi_scale_cams(
        context,
        lambda images, present: network.whole_maps(images, present, settings.correct),
        network.normalisation,
        settings.inference,
        normalised=to_unit,
        by_class=True,
    )


@torch.inference_mode()
def predict(context: StageContext, settings: PredictConfig) -> None:
    """Write the decoder's label map of every validation image, and of the training images that reports show."""
    network, test = _trained(context, settings.network), settings.test
    write_label_maps(
        context, network, network.normalisation, test.batch_size, test.scales, test.flip, test.crf, test.tiles
    )


def profile_train(
    settings: WeclipTrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    network = WeclipNetwork.build(settings.network, classes).eval()
    return [alone(TITLE, network, settings.train.recipe.crop, "network alone, to the decoder's prediction")]


def profile_cam(
    settings: WeclipCamConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    network = WeclipNetwork.build(inputs["weights"].network, classes).eval()
    return [
        ForwardPass(TITLE, "all blocks' attention and patches, without gradients", size, network, _attended)
    ]


def _attended(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    return network.encode(images).attention  # type: ignore[no-any-return]


def profile_predict(
    settings: PredictConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """As it is tested, without and with the CRF where there is one."""
    test = settings.test

    def run(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        forward = tiled(network, test.tiles, test.batch_size, grid_of(network))
        return segmentation_probabilities(forward, images, test.scales, test.flip)

    covers = f"prediction, {scales_text(test.scales, test.flip, test.tiles)}"
    network = WeclipNetwork.build(settings.network, classes).eval()
    tested = ForwardPass(TITLE, covers, size, network, run)
    if test.crf is None:
        return [tested]
    return [tested, replace(tested, covers=f"{covers}; CRF", finish=CrfFinish(test.crf))]
