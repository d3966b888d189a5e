"""Fusion of P1 and P2 by rules that nothing is learned for: what a network has to be better than."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from methods.layers.cam import pseudo_labels, resize
from methods.sam_fused.config import RuleConfig

RELEVANT = 0.5
"""Share of a segment in P1's class from which on it is relevant, as in SAM-enhanced pseudo-labels (Chen et al., 2023)."""


def fused_by_rule(
    first: torch.Tensor,
    second: torch.Tensor,
    classes: Sequence[int],
    size: tuple[int, int],
    config: RuleConfig,
) -> torch.Tensor:
    """P (H, W) uint8 of CAMs (P, h, w) and mean masks (P, H, W) of the P present classes."""
    if not classes:
        return torch.zeros(size, dtype=torch.uint8)
    if config.by == "mean":
        both = resize(first[None].float(), size)[0] + second.float()
        return pseudo_labels(both, classes, size, config.background_threshold + config.mask_threshold)
    p1 = pseudo_labels(first, classes, size, config.background_threshold)
    p2 = pseudo_labels(second, classes, size, config.mask_threshold)
    if config.by == "intersection":
        return torch.where(p1 == p2, p1, 0).to(torch.uint8)
    if config.by == "union":
        return torch.where(p2 > 0, p2, p1).to(torch.uint8)
    return torch.from_numpy(relevant_segments(p1.cpu().numpy(), p2.cpu().numpy(), classes))


def relevant_segments(
    first: NDArray[np.uint8], second: NDArray[np.uint8], classes: Sequence[int]
) -> NDArray[np.uint8]:
    """P2's connected regions of which at least half has P1's label too; P1 of the classes that have none.

    first, second: label maps (H, W) of P1 and P2; returns (H, W)
    """
    chosen = np.zeros_like(first)
    left = []
    for value in (c + 1 for c in classes):
        regions, count = ndimage.label(second == value)
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        shared = np.bincount(regions.ravel(), weights=(first == value).ravel(), minlength=count + 1)
        relevant = shared >= RELEVANT * areas
        relevant[0] = False
        chosen[relevant[regions]] = value
        left += [] if relevant.any() else [value]
    return np.where((chosen == 0) & np.isin(first, left), first, chosen)
