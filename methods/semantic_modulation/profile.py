"""What `profile` measures of semantic modulation's CAM; its training is MCTformer's."""

from __future__ import annotations

from methods.base import Passage
from methods.layers.passages import multi_scale_cams
from methods.mctformer.network import build_network
from methods.mctformer.profile import NETWORK
from methods.semantic_modulation.config import ModulatedCamConfig
from methods.semantic_modulation.stages import modulated_cams


def cam(settings: ModulatedCamConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    network = build_network(settings.vit, classes).eval()
    return [
        multi_scale_cams(
            NETWORK,
            network,
            lambda m, x: modulated_cams(m, x, settings.attention, settings.modulation).final,
            settings.inference,
            size,
            "refined by modulated attention; ",
        )
    ]
