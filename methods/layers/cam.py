"""Arithmetic on class activation maps that the methods share: multi-scale sums, normalisation, pseudo-labels.

The order of operations is that of IRNet's and EPS's inference: activations of every scale, mirrored and not,
are brought to one size and added; absent classes dropped; each class divided by its maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear resampling of (N, K, h, w) maps to (N, K, *size), without aligned corners."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def multi_scale_cam(
    forward: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    scales: Sequence[float],
    flip: bool,
) -> torch.Tensor:
    """Sum of the maps of several image scales and, with `flip`, of the mirrored images.

    forward: images (B, 3, H, W) -> maps (B, K, h, w), already rectified or softmaxed: negative evidence of
             one scale must not cancel another's
    images:  (B, 3, H, W), normalised
    Returns (B, K, h, w) at the resolution of the largest scale, not normalised.
    """
    height, width = images.shape[-2:]
    per_scale = []
    for scale in scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        scaled = images
        if size != (height, width):
            # Smoothed when shrinking, as by the image libraries of the reference code.
            scaled = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        if flip:
            straight, mirrored = forward(torch.cat([scaled, scaled.flip(-1)])).chunk(2)
            per_scale.append(straight + mirrored.flip(-1))
        else:
            per_scale.append(forward(scaled))
    common = max((tuple(m.shape[-2:]) for m in per_scale), key=lambda s: s[0] * s[1])
    total = torch.zeros(*per_scale[0].shape[:2], *common, dtype=per_scale[0].dtype, device=images.device)
    for maps in per_scale:
        total += maps if tuple(maps.shape[-2:]) == common else resize(maps, (common[0], common[1]))
    return total


def normalise(maps: torch.Tensor) -> torch.Tensor:
    """Each map of (..., h, w), not negative, divided by (its maximum + 1e-5): [0, 1) per class."""
    return maps / (maps.amax(dim=(-2, -1), keepdim=True) + 1e-5)


def min_max(maps: torch.Tensor) -> torch.Tensor:
    """Each map of (..., h, w) brought to [0, 1] by its minimum and maximum; a constant map becomes 0."""
    low, high = torch.aminmax(maps.flatten(-2), dim=-1, keepdim=True)
    return ((maps.flatten(-2) - low) / (high - low).clamp_min(1e-8)).view_as(maps)


def only_present(maps: torch.Tensor, labels: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """From maps (B, C, h, w), per image those of its present classes: (K, h, w), ordered as its labels."""
    return [image_maps[list(present)] for image_maps, present in zip(maps, labels, strict=True)]


def pseudo_labels(
    maps: torch.Tensor, classes: Sequence[int], size: tuple[int, int], background_threshold: float
) -> torch.Tensor:
    """Label map (H, W) uint8: 0 background, class + 1 elsewhere.

    maps:    (K, h, w) in [0, 1]; K may be 0
    classes: K object-class indices, from 0
    size:    (H, W) to which the maps are upsampled before they are compared
    background_threshold: constant score of the background, in [0, 1]; a tie is background
    """
    if not classes:
        return torch.zeros(size, dtype=torch.uint8, device=maps.device)
    score, winner = resize(maps[None].float(), size)[0].max(dim=0)
    values = torch.tensor([c + 1 for c in classes], dtype=torch.uint8, device=maps.device)
    return torch.where(score > background_threshold, values[winner], 0).to(torch.uint8)
