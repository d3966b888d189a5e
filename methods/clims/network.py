"""The CAM network of guided trainings: plain CAM's, whose maps may be those of the training."""

from __future__ import annotations

import torch

from methods.cam.network import PlainCam
from methods.clims.config import GuidedCamConfig


class ActivatedCam(PlainCam):
    """Its maps at inference: rectified, as in CLIMS's code, or the sigmoid's, as in training."""

    def maps(self, images: torch.Tensor, settings: GuidedCamConfig) -> torch.Tensor:
        return self(images).relu() if settings.activation == "relu" else self(images).sigmoid()  # type: ignore[no-any-return]
