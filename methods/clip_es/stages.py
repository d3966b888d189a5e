"""CLIP-ES's maps of the training images, and what `profile` counts of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from methods.base import ForwardPass, Inputs, StageContext
from methods.clip_es.config import ClipEsStageConfig
from methods.clip_es.prompts import least_sharp
from methods.layers.cam_inference import write_multi_scale_cams
from methods.layers.clip.affinity import mean_attention, spread, transition
from methods.layers.clip.config import AffinityConfig
from methods.layers.clip.model import ClipModel, load_clip, normalisation
from methods.layers.clip.patches import (
    encode_patches,
    require_patches,
    softmax_grad_cam,
    text_directions,
    to_unit,
    whole_patches,
)

KEY = "method.clip_es.clip"


class ClipMaps(nn.Module):
    """A frozen CLIP whose attention spreads its Grad-CAM.

    affinity: None: Grad-CAM as it is
    """

    def __init__(self, clip: ClipModel, affinity: AffinityConfig | None) -> None:
        super().__init__()
        self.clip = clip
        self.visual: Any = require_patches(KEY, clip)
        self.affinity = affinity
        self.blocks = affinity.blocks if affinity is not None else 1
        self.eval()

    def forward(self, images: torch.Tensor, directions: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) -> maps (B, C, h, w) in [0, 1], zero for absent classes.

        directions: of the texts, (C + W, D); present: (B, C) bool
        """
        patches = encode_patches(self.visual, whole_patches(self.visual, images), self.blocks)
        scale: torch.Tensor = self.clip.model.logit_scale.exp()  # type: ignore[union-attr,operator]
        found = softmax_grad_cam(self.visual, patches.tokens, patches.grid, directions, scale, present)
        if self.affinity is None:
            return found.maps
        attention = mean_attention([*patches.attention, found.attention], self.blocks)
        return to_unit(spread(found.maps, attention, self.affinity))


def cam(context: StageContext, settings: ClipEsStageConfig) -> None:
    """Write the maps of the training images' present classes."""
    clip = load_clip(settings.clip, context.weights_path(settings.clip.weights)).to(context.device)
    network = ClipMaps(clip, settings.affinity)
    texts = settings.texts
    if settings.select_prompt and len(texts.prompts) > 1:
        texts = least_sharp(context, clip, network.visual, settings)
    directions = text_directions(clip, texts)
    write_multi_scale_cams(
        context,
        lambda images, present: network(images, directions, present),
        normalisation(settings.clip),
        settings.inference,
        normalised=to_unit,
        by_class=True,
    )


def profile_cam(
    settings: ClipEsStageConfig, inputs: Inputs, classes: int, size: tuple[int, int]
) -> list[ForwardPass]:
    """Both encoders' parameters and one pass of the image encoder, as papers count; and an image as it is."""
    network = ClipMaps(load_clip(settings.clip), settings.affinity)
    encoder: Any = network.clip.model
    return [
        ForwardPass(
            "CLIP",
            "image encoder, one forward pass; parameters of both encoders",
            network.clip.image_size,
            encoder,
            lambda model, images: model.encode_image(images),
        ),
        ForwardPass(
            "CLIP", "whole image to the affinity of its patches, without gradients", size, network, _attended
        ),
    ]


def _attended(network: Any, images: torch.Tensor) -> torch.Tensor:
    """What of the maps does not depend on values."""
    visual, affinity = network.visual, network.affinity
    patches = encode_patches(visual, whole_patches(visual, images), network.blocks)
    last, attention = visual.transformer.resblocks[-1], [*patches.attention]
    normal = last.ln_1(patches.tokens)
    attention.append(last.attn(normal, normal, normal, need_weights=True)[1][:, 1:, 1:])
    if affinity is None:
        return attention[-1]
    return transition(mean_attention(attention, network.blocks), affinity.rounds, affinity.squarings)
