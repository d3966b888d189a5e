"""What `profile` measures of methods that CLIP guides."""

from __future__ import annotations

import torch

from methods.base import Passage
from methods.cam.profile import NETWORK, random_network
from methods.clims.config import GuidedCamConfig, GuidedTrainingConfig
from methods.layers.clip.model import load_clip
from methods.layers.passages import alone, multi_scale_cams


def guide(settings: GuidedTrainingConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    """CLIP's image encoder, which inference does not need, and the CAM network where no classifier comes first."""
    clip = load_clip(settings.clip)
    covers = "network alone; in training only, twice a present class"
    encoder = Passage(
        "CLIP image encoder",
        covers,
        clip.image_size,
        clip.model.visual.eval(),  # type: ignore[union-attr,operator]
    )
    if settings.initialisation == "classifier":
        return [encoder]
    return [alone(NETWORK, random_network(settings.backbone, classes), settings.train.recipe.crop), encoder]


def cam(settings: GuidedCamConfig, classes: int, size: tuple[int, int]) -> list[Passage]:
    network = random_network(settings.backbone, classes)
    activation = torch.relu if settings.activation == "relu" else torch.sigmoid
    return [multi_scale_cams(NETWORK, network, lambda m, x: activation(m(x)), settings.inference, size)]
