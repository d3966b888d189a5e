"""The CAM stage of semantic modulation; its training is MCTformer's."""

from __future__ import annotations

from functools import partial

import torch

from methods.base import StageContext
from methods.mctformer.cam import CamStages, cam_stages
from methods.mctformer.config import AttentionConfig
from methods.mctformer.network import MctformerNetwork
from methods.mctformer.stages import write_cam_stages
from methods.semantic_modulation.config import ModulatedCamConfig, ModulationConfig
from methods.semantic_modulation.modulation import modulate


def cam(context: StageContext, settings: ModulatedCamConfig) -> None:
    """Original, Modulated and Final CAM (Eq. 1, 5, 6) from one inference."""
    write_cam_stages(
        context,
        settings,
        lambda network, images: modulated_cams(network, images, settings.attention, settings.modulation),
    )


def modulated_cams(
    network: MctformerNetwork, images: torch.Tensor, attention: AttentionConfig, modulation: ModulationConfig
) -> CamStages:
    """CAMs of normalised images (B, 3, H, W), with the class-to-patch attention modulated (Eq. 3 to 6)."""
    if modulation.strength == 0:
        return cam_stages(network, images, attention)
    step = partial(
        modulate,
        ratio=modulation.ratio,
        strength=modulation.strength,
        include_self=modulation.include_self,
    )
    if modulation.ranking == "each_layer":
        return cam_stages(network, images, attention, modulate_layer=step)
    return cam_stages(network, images, attention, modulate=step)
