"""MCTformer's network with its class-to-patch attention modulated; trained, the two are the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from methods.mctformer.cam import CamStages, cam_stages
from methods.mctformer.config import AttentionConfig
from methods.mctformer.network import MctformerNetwork
from methods.semantic_modulation.config import ModulatedCamConfig, ModulationConfig
from methods.semantic_modulation.modulation import modulate


class ModulatedNetwork(MctformerNetwork):
    """Original, Modulated and Final CAM (Eq. 1, 5, 6) from one forward pass."""

    steps = "refined by modulated attention; "

    def refined(self, images: torch.Tensor, settings: ModulatedCamConfig) -> CamStages:
        per_patch = self.per_patch(settings)
        return modulated_cams(self, images, settings.attention, settings.modulation, per_patch)

    def attention(self, images: torch.Tensor, settings: ModulatedCamConfig) -> Mapping[str, torch.Tensor]:
        """Before and after the modulation, as Fig. 1 shows it; alike without one."""
        before, after = super().refined(images, settings), self.refined(images, settings)
        title = "class-to-patch attention"
        return {f"{title}, as it is": before.class_to_patch, f"{title}, modulated": after.class_to_patch}


def modulated_cams(
    network: MctformerNetwork,
    images: torch.Tensor,
    attention: AttentionConfig,
    modulation: ModulationConfig,
    per_patch: bool = False,
) -> CamStages:
    """CAMs of normalised images (B, 3, H, W), with the class-to-patch attention modulated (Eq. 3 to 6).

    per_patch: as `methods.mctformer.cam.cam_stages` has it
    """
    if modulation.strength == 0:
        return cam_stages(network, images, attention, per_patch=per_patch)
    step = partial(
        modulate,
        ratio=modulation.ratio,
        strength=modulation.strength,
        include_self=modulation.include_self,
        axis=modulation.ranking_axis,
    )
    if modulation.ranking == "each_layer":
        return cam_stages(network, images, attention, modulate_layer=step, per_patch=per_patch)
    return cam_stages(network, images, attention, modulate=step, per_patch=per_patch)
