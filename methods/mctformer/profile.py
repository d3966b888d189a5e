"""What `profile` measures of methods on MCTformer's transformer."""

from __future__ import annotations

from methods.base import Passage
from methods.layers.passages import alone, multi_scale_cams
from methods.mctformer.cam import cam_stages
from methods.mctformer.config import CamStageConfig, ClassifyConfig
from methods.mctformer.network import build_network

NETWORK = "CAM network"


def classify(settings: ClassifyConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    return [alone(NETWORK, build_network(settings.vit, classes).eval(), settings.train.recipe.crop)]


def cam(settings: CamStageConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    network = build_network(settings.vit, classes).eval()
    return [
        multi_scale_cams(
            NETWORK,
            network,
            lambda m, x: cam_stages(m, x, settings.attention).final,
            settings.inference,
            size,
            "refined by attention; ",
        )
    ]
