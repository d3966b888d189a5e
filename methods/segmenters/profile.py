"""What `profile` measures of the segmentation network."""

from __future__ import annotations

from dataclasses import replace
from inspect import unwrap

import torch
from torch import nn

from methods.base import ForwardPass, Inputs
from methods.layers.config import SegmenterConfig
from methods.layers.forward_passes import CrfFinish, alone, scales_text
from methods.layers.networks.deeplab import build_segmenter
from methods.layers.tiles import grid_of, tiled
from methods.segmenters.stages import segmentation_probabilities

NETWORK = "segmentation network"
probabilities = unwrap(segmentation_probabilities)
"""In the caller's mode: `export` traces it, which inference mode does not allow."""


def segment(
    settings: SegmenterConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    return [alone(NETWORK, build_segmenter(settings, classes).eval(), settings.train.recipe.crop)]


def predict(
    settings: SegmenterConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """As it is tested: scales and mirror images, without and with the CRF where there is one."""

    def run(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        forward = tiled(network, settings.test_tiles, settings.test_batch_size, grid_of(network))
        return probabilities(forward, images, settings.test_scales, settings.test_flip)

    covers = scales_text(settings.test_scales, settings.test_flip, settings.test_tiles)
    tested = ForwardPass(NETWORK, covers, size, build_segmenter(settings, classes).eval(), run)
    if settings.test_crf is None:
        return [tested]
    return [tested, replace(tested, covers=f"{covers}; CRF", finish=CrfFinish(settings.test_crf))]
