"""PAR: pixel-adaptive refinement of class maps along the image's colours (Ru et al., AFA, CVPR 2022; used by ToCo).

A pixel's scores become the mean of its neighbours', weighted by how alike their colours are, ten times over.
Neighbours are the eight directions at several dilations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

DILATIONS = (1, 2, 4, 8, 12, 24)
COLOUR_WEIGHT = 0.3
POSITION_WEIGHT = 0.01
_DIRECTIONS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def pixel_adaptive_refinement(
    images: torch.Tensor,
    maps: torch.Tensor,
    dilations: Sequence[int] = DILATIONS,
    iterations: int = 10,
) -> torch.Tensor:
    """Refined maps (B, K, H, W).

    images: (B, 3, H, W), any affine scale: colours are measured in standard deviations of the neighbourhood
    maps:   (B, K, h, w), brought to the images' size first
    """
    if maps.shape[-2:] != images.shape[-2:]:
        maps = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=True)
    weights = _affinities(images, dilations)
    for _ in range(iterations):
        refined = torch.zeros_like(maps)
        for k, neighbour in enumerate(_neighbours(maps, dilations)):
            refined.addcmul_(neighbour, weights[:, k : k + 1])
        maps = refined
    return maps


def _neighbours(maps: torch.Tensor, dilations: Sequence[int]) -> Iterator[torch.Tensor]:
    """Views (B, K, H, W) of the maps moved by every offset; beyond the border its nearest pixel is repeated."""
    height, width = maps.shape[-2:]
    reach = max(dilations)
    padded = F.pad(maps, [reach] * 4, mode="replicate")
    for dilation in dilations:
        for dy, dx in _DIRECTIONS:
            top, left = reach + dy * dilation, reach + dx * dilation
            yield padded[..., top : top + height, left : left + width]


def _affinities(images: torch.Tensor, dilations: Sequence[int]) -> torch.Tensor:
    """Weights of a pixel's neighbours, (B, 8 * dilations, H, W); those of colour sum to one."""
    count = len(_DIRECTIONS) * len(dilations)
    mean = torch.zeros_like(images)
    for neighbour in _neighbours(images, dilations):
        mean += neighbour / count
    variance = torch.zeros_like(images)
    for neighbour in _neighbours(images, dilations):
        variance += (neighbour - mean).square() / (count - 1)
    scale = COLOUR_WEIGHT * (variance.sqrt() + 1e-8)
    logits = [-((n - images) / scale).square().mean(1) for n in _neighbours(images, dilations)]
    distances = images.new_tensor([math.hypot(*d) * dilation for dilation in dilations for d in _DIRECTIONS])
    nearness = -(distances / (COLOUR_WEIGHT * (distances.std() + 1e-8))).square()
    return torch.stack(logits, 1).softmax(1) + POSITION_WEIGHT * nearness.softmax(0)[:, None, None]
