"""What `profile` measures of EPS."""

from __future__ import annotations

from methods.base import Passage
from methods.cam.config import CamStageConfig
from methods.eps.config import JointTrainingConfig
from methods.eps.network import EpsNetwork
from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.passages import alone, multi_scale_cams

NETWORK = "CAM network"


def random_network(config: BackboneConfig, classes: int) -> EpsNetwork:
    return EpsNetwork(build_backbone(config), classes).eval()


def classify(settings: JointTrainingConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    return [alone(NETWORK, random_network(settings.backbone, classes), settings.train.recipe.crop)]


def cam(settings: CamStageConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    network = random_network(settings.backbone, classes)
    return [
        multi_scale_cams(NETWORK, network, lambda m, x: m(x).softmax(1)[:, :-1], settings.inference, size)
    ]
