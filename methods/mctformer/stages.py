"""Stages of MCTformer; its training and the splitting of CAM artifacts serve semantic modulation too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

import torch
from safetensors.torch import save_file
from torch import nn

from datasets.loading.loader import Batch
from methods.base import StageContext
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.config import VitConfig
from methods.layers.image_scores import write_classifications
from methods.layers.networks.vit import whole_patches
from methods.layers.optim import build_optimiser, schedule
from methods.layers.weights.files import load_trained
from methods.layers.weights.released import ReleasedConfig, Rule, renamed, write_released
from methods.mctformer.cam import CamStages, cam_stages, min_max
from methods.mctformer.config import CamStageConfig, ClassifyConfig, PartConfig, ScoresConfig
from methods.mctformer.network import MctformerNetwork, build_network, classification_losses

_RELEASED: tuple[Rule, ...] = (
    (r"norm\..*", None),  # saved, but V2's forward pass leaves it out
    (r"(patch_embed|blocks)\..*", r"vit.trunk.\g<0>"),
)


def classify(context: StageContext, settings: ClassifyConfig) -> None:
    """Train the transformer with image labels (Eq. 7 to 11)."""
    weights = context.weights_path(settings.vit.weights)
    network = build_network(settings.vit, len(context.view.classes), weights)
    optimiser = build_optimiser(network, [network.head], settings.train)
    batches = context.train_batches(
        context.view.samples("train"),
        settings.train.recipe,
        network.vit.normalisation,
        settings.train.batch_size,
    )

    def losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        return classification_losses(network(batch.images), batch.labels)

    context.train(network, optimiser, losses, batches, settings.train.iterations, schedule(settings.train))
    save_file(network.state_dict(), context.output / "network.safetensors")


def released(context: StageContext, settings: ReleasedConfig) -> None:
    """The network of a checkpoint of MCTformer's code; settings.network: its transformer."""
    network = build_network(settings.network, len(context.view.classes))
    write_released(context, settings, network, network_names)


def network_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A released state under `MctformerNetwork`'s names: class tokens' positions apart from the patches'."""
    found = dict(state)
    if "cls_token" in found and "pos_embed" in found:
        tokens, positions = found.pop("cls_token"), found.pop("pos_embed")
        classes = tokens.shape[1]
        found["vit.class_tokens"] = tokens
        found["vit.class_positions"] = positions[:, :classes]
        found["vit.patch_positions"] = positions[:, classes:]
    return renamed(found, _RELEASED)


def cam(context: StageContext, settings: CamStageConfig) -> None:
    """CAMs refined by class-to-patch and patch-to-patch attention, and those before, from one inference."""
    write_cam_stages(
        context, settings, lambda network, images: cam_stages(network, images, settings.attention)
    )


def write_cam_stages(
    context: StageContext,
    settings: CamStageConfig,
    refine: Callable[[MctformerNetwork, torch.Tensor], CamStages],
) -> None:
    """Write the final CAMs, and each intermediate one to a folder of its name.

    refine: network, normalised images (B, 3, H, W) -> CAMs
    """
    network = _trained(context, settings.vit)

    def forward(images: torch.Tensor) -> torch.Tensor:
        cams = refine(network, images)
        return torch.cat([cams.final, *(getattr(cams, name) for name in settings.intermediate)], dim=1)

    folders = ("", *settings.intermediate)
    write_multi_scale_cams(context, forward, network.vit.normalisation, settings.inference, folders, min_max)


def image_scores(context: StageContext, settings: ScoresConfig) -> None:
    """Class-token scores of the validation images (Eq. 7)."""
    network = _trained(context, settings.vit)
    write_classifications(
        context,
        lambda images: network(whole_patches(images, network.vit.patch_size)).class_scores,
        network.vit.normalisation,
        settings.batch_size,
    )


def _trained(context: StageContext, vit: VitConfig) -> MctformerNetwork:
    network = build_network(vit, len(context.view.classes))
    load_trained(network, context.inputs["weights"].path / "network.safetensors")
    return network.to(context.device).eval()


def part(context: StageContext, settings: PartConfig) -> None:
    """An intermediate CAM as an artifact of its own, so that it is scored."""
    for shard in sorted((context.inputs["cam"].path / settings.name).glob("*.safetensors")):
        shutil.copyfile(shard, context.output / shard.name)
