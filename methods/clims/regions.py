"""Foreground and background regions of an image by its CAMs, encoded by CLIP (CLIMS Sec. 3.2; CA-CL Eq. 2, 3, 5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from datasets.recipe import Normalisation
from methods.layers.clip.model import ClipModel


class Regions(NamedTuple):
    """Features of the regions of the N pairs of an image and a class that is present in it.

    images, classes: (N,) int64, which image of the batch and which class a pair is of
    foreground, background: (N, D) unit-norm features of FG = X P_k and BG = X (1 - P_k)
    """

    images: torch.Tensor
    classes: torch.Tensor
    foreground: torch.Tensor
    background: torch.Tensor


def encode_regions(
    clip: ClipModel,
    images: torch.Tensor,
    maps: torch.Tensor,
    labels: torch.Tensor,
    normalisation: Normalisation,
    composition: str,
) -> Regions:
    """Encode all regions of a batch in one call.

    images: (B, 3, H, W), normalised by `normalisation`; maps: (B, C, h, w) in [0, 1]; labels: (B, C), 0 or 1
    composition: "normalised" multiplies CLIP's normalised image, so that what a map leaves out becomes the mean
                 colour, as in CLIMS's code; "pixels" multiplies the image in [0, 1]: it becomes black
    Gradients flow into the maps, not into the images.
    """
    image_index, class_index = labels.nonzero(as_tuple=True)
    mean = images.new_tensor(normalisation.mean)[:, None, None]
    std = images.new_tensor(normalisation.std)[:, None, None]
    pixels = clip.resize(images * std + mean)
    masks = F.interpolate(
        maps[image_index, class_index][:, None], size=clip.image_size, mode="bilinear", align_corners=False
    )
    masks = torch.cat([masks, 1 - masks])
    twice = image_index.repeat(2)
    on_black = composition == "pixels"
    regions = clip.normalise(pixels[twice] * masks) if on_black else clip.normalise(pixels)[twice] * masks
    foreground, background = clip.encode_normalised(regions).chunk(2)
    return Regions(image_index, class_index, foreground, background)
