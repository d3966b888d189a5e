"""What `profile` measures of the refiners without a network."""

from __future__ import annotations

from typing import Any

from methods.base import ForwardPass, Inputs, Pictures
from methods.layers.forward_passes import CrfFinish, scores_with_background
from methods.layers.par import pixel_adaptive_refinement
from methods.refiners.config import ParStageConfig, PseudoLabelConfig


def crf(
    settings: PseudoLabelConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    assert settings.crf is not None
    return [ForwardPass("none", "CRF", size, None, finish=CrfFinish(settings.crf))]


def par(settings: ParStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]) -> list[ForwardPass]:
    def finish(output: Any, pictures: Pictures) -> None:
        scores = scores_with_background(pictures.cams).softmax(1)
        pixel_adaptive_refinement(pictures.pixels.float(), scores, settings.dilations, settings.iterations)

    return [ForwardPass("none", "pixel-adaptive refinement", size, None, finish=finish)]
