"""What `profile` measures of PSA."""

from __future__ import annotations

from typing import Any

from methods.base import ForwardPass, Inputs, Pictures
from methods.layers.forward_passes import alone
from methods.layers.networks.backbones import build_backbone
from methods.refiners.psa.config import AffinityTrainingConfig, WalkConfig
from methods.refiners.psa.network import AffinityNetwork
from methods.refiners.psa.stages import padded_features, walk

NETWORK = "affinity network"


def train(
    settings: AffinityTrainingConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    network = AffinityNetwork(build_backbone(settings.network)).eval()
    return [alone(NETWORK, network, settings.train.recipe.crop)]


def pseudo_label(
    settings: WalkConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    network = AffinityNetwork(build_backbone(inputs["affinity"].network)).eval()
    stride = network.backbone.output_stride

    def finish(features: Any, pictures: Pictures) -> None:
        walk(features, pictures.cams, settings, stride)

    return [ForwardPass(NETWORK, "scale 1; random walk", size, network, padded_features, finish)]
