"""What `profile` measures of the SAM-fused pseudo-labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from methods.base import ForwardPass, Inputs
from methods.layers.forward_passes import ALONE
from methods.layers.sam.model import decode_prompts, encode, load_sam
from methods.sam_fused.config import FusionStageConfig, MaskStageConfig
from methods.sam_fused.fusion import FusionNetwork, inputs_seen
from methods.sam_fused.stages import views_of

SAM = "SAM"
FUSION = "fusion network"


def masks(
    settings: MaskStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """The image encoder on one view, the decoder of one prompt, and what an image of one class is in all views.

    Points are not embedded here: the prompt encoder's indexing has no meta kernel, and it is a two-row product.
    """
    sam = load_sam(settings.sam, None)
    side = sam.image_encoder.img_size
    count = len(views_of(settings.views))
    points = (
        settings.prompts.positives + settings.prompts.negatives + 1
    )  # SAM adds one that stands for no box

    def decoded(sam: Any, frames: torch.Tensor) -> Any:
        width, cells = sam.prompt_encoder.embed_dim, sam.prompt_encoder.image_embedding_size
        maps = frames.new_zeros(len(frames), width, *cells)
        return decode_prompts(sam, maps, frames.new_zeros(len(frames), points, width), maps)

    def every(sam: Any, frames: torch.Tensor) -> list[Any]:
        return [(encode(sam, frames), decoded(sam, frames)) for _ in range(count)]

    return [
        ForwardPass(SAM, "image encoder, one view", (side, side), sam, encode),
        ForwardPass(SAM, "mask decoder, one prompt", (side, side), sam, decoded),
        ForwardPass(SAM, f"{count} views, one class", (side, side), sam, every),
    ]


def fuse(
    settings: FusionStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    crop = settings.fusion.train.recipe.crop
    return [ForwardPass(FUSION, ALONE, (crop, crop), *_fusion(settings, classes))]


def pseudo_label(
    settings: FusionStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    return [ForwardPass(FUSION, "whole images", size, *_fusion(settings, classes))]


def _fusion(settings: FusionStageConfig, classes: int) -> tuple[nn.Module, Any]:
    """The network, and its pass of maps as large as the images."""

    def run(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        seen = inputs_seen(classes, settings.fusion)
        return network(images.new_zeros(len(images), seen, *images.shape[-2:]))  # type: ignore[no-any-return]

    return FusionNetwork(classes, settings.fusion).eval(), run
