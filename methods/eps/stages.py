"""Stages of EPS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from datasets.loading.loader import Batch
from methods.base import MethodError, StageContext
from methods.cam.config import CamStageConfig
from methods.eps.config import JointTrainingConfig
from methods.eps.losses import classification_loss, saliency_loss
from methods.eps.network import EpsNetwork
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.image_scores import write_classifications
from methods.layers.networks.backbones import build_backbone
from methods.layers.optim import build_optimiser, schedule
from methods.layers.saliency.stage import saliency_companion
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import CAM_NETWORK, ReleasedConfig, renamed, write_released


def classify(context: StageContext, settings: JointTrainingConfig) -> None:
    """Joint training on image labels and saliency (Sec. 3.3)."""
    classes = context.view.classes
    backbone = build_backbone(settings.backbone, context.weights_path(settings.backbone.weights))
    network = EpsNetwork(backbone, len(classes))
    optimiser = build_optimiser(network, [network.classifier], settings.train)
    batches = context.train_batches(
        context.view.samples("train"),
        settings.train.recipe,
        backbone.normalisation,
        settings.train.batch_size,
        {"saliency": saliency_companion(settings.saliency, context.inputs["saliency"].path)},
    )
    background = _class_indices(settings, classes)

    def losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        logits = network(batch.images)
        return {
            "classification": classification_loss(logits, batch.labels),
            "saliency": saliency_loss(
                logits,
                batch.companions["saliency"],
                batch.labels,
                settings.overlap_threshold,
                settings.foreground_weight,
                settings.map_selection,
                background,
            ).loss,
        }

    context.train(network, optimiser, losses, batches, settings.train.iterations, schedule(settings.train))
    save_file(network.state_dict(), context.output / "network.safetensors")


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The network of a checkpoint of EPS's code, whose maps are in the same order; settings.network: its backbone."""
    network = EpsNetwork(build_backbone(settings.network), len(context.view.classes))
    write_released(context, settings, network, lambda state: renamed(state, CAM_NETWORK))


def _class_indices(settings: JointTrainingConfig, classes: tuple[str, ...]) -> tuple[int, ...]:
    if settings.map_selection != "predefined":
        return ()
    missing = [name for name in settings.predefined_background if name not in classes]
    if missing:
        raise MethodError(
            f"method.eps.predefined_background names {', '.join(missing)}, no class of this data set; "
            f"its classes are {', '.join(classes)}"
        )
    return tuple(classes.index(name) for name in settings.predefined_background)


def cam(context: StageContext, settings: CamStageConfig) -> None:
    """Softmax over C + 1, object maps summed over scales and mirror images, divided by the maximum."""
    network = _trained(context, settings)
    normalisation: Any = network.backbone.normalisation
    write_multi_scale_cams(
        context, lambda images: network(images).softmax(1)[:, :-1], normalisation, settings.inference
    )


def image_scores(context: StageContext, settings: CamStageConfig) -> None:
    """Logits of the validation images: globally averaged object maps, as in L_cls."""
    network = _trained(context, settings)
    normalisation: Any = network.backbone.normalisation
    write_classifications(
        context,
        lambda images: network(images)[:, :-1].mean((2, 3)),
        normalisation,
        settings.inference.batch_size,
    )


def _trained(context: StageContext, settings: CamStageConfig) -> EpsNetwork:
    backbone = build_backbone(settings.backbone)
    network = EpsNetwork(backbone, len(context.view.classes))
    load_trained(network, context.inputs["weights"].path / "network.safetensors")
    return network.to(context.device).eval()
