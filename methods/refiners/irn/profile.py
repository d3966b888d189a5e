"""What `profile` measures of IRNet."""

from __future__ import annotations

from typing import Any

from methods.base import ForwardPass, Inputs, Pictures
from methods.layers.cam import resize
from methods.layers.forward_passes import alone
from methods.layers.networks.backbones import build_backbone
from methods.refiners.irn.config import EdgeWalkConfig, InterPixelTrainingConfig
from methods.refiners.irn.network import InterPixelNetwork
from methods.refiners.irn.stages import walk

NETWORK = "inter-pixel network"


def train(
    settings: InterPixelTrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    network = InterPixelNetwork(build_backbone(settings.network)).eval()
    return [alone(NETWORK, network, settings.train.recipe.crop)]


def pseudo_label(
    settings: EdgeWalkConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """Inference uses the boundary branch alone, of the image and its mirror image."""
    network = InterPixelNetwork(build_backbone(inputs["inter_pixel"].network)).eval()

    def finish(edges: Any, pictures: Pictures) -> None:
        walk(edges, resize(pictures.cams, (edges.shape[-2], edges.shape[-1])), settings, size)

    covers = "boundaries, scale 1; mirrored; random walk"
    return [ForwardPass(NETWORK, covers, size, network, lambda m, x: m.boundaries(x), finish)]
