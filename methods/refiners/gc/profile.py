"""What `profile` measures of Gaussian correction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from methods.base import ForwardPass, Inputs, Pictures
from methods.layers.networks.backbones import build_backbone
from methods.refiners.gc.config import CorrectionConfig, GcStageConfig
from methods.refiners.gc.correction import gaussian_correction


def pseudo_label(
    settings: GcStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    finish = correct(settings.correction, settings.background_threshold)
    backbone = build_backbone(settings.backbone).eval()
    return [ForwardPass("features' network", "scale 1; Gaussian correction", size, backbone, finish=finish)]


def correct(settings: CorrectionConfig, background_threshold: float) -> Callable[[Any, Pictures], None]:
    """`ForwardPass.finish` of Gaussian correction by features (B, D, h, w)."""

    def finish(features: Any, pictures: Pictures) -> None:
        confidence, winner = pictures.cams.max(1)
        labels = (winner + 1).where(confidence > background_threshold, 0)
        gaussian_correction(labels, pictures.cams, features, settings)

    return finish
