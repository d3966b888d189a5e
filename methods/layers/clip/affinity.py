"""Class-aware attention-based affinity (CAA): a CLIP's attention spreads a class's map, inside boxes around it.

Source: Lin et al., CLIP-ES, CVPR 2023, and generate_cams_voc12.py of its code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import find_objects, label

from methods.base import MethodError
from methods.layers.clip.config import AffinityConfig


def mean_attention(attention: Sequence[torch.Tensor], blocks: int) -> torch.Tensor:
    """Mean of the last `blocks` of the attentions, each (B, N, N) from patch (row) to patch; errors as of `last_of`."""
    return torch.stack(last_of(attention, blocks)).mean(0)


def last_of(attention: Sequence[torch.Tensor], blocks: int) -> list[torch.Tensor]:
    """The last `blocks` attentions. Raises MethodError where there are fewer."""
    if blocks > len(attention):
        raise MethodError(f"blocks={blocks}: the image encoder has {len(attention)}; give at most that many")
    return list(attention[-blocks:])


def spread(maps: torch.Tensor, weights: torch.Tensor, config: AffinityConfig) -> torch.Tensor:
    """Maps (B, C, h, w) in [0, 1], refined by affinities of patches (B, N, N), which need not be normalised.

    A pixel gets what pixels inside the boxes give it, wherever it is itself. Not normalised: see `patches.to_unit`.
    """
    givers = maps * boxes(maps, config.threshold, config.whole_boxes)
    refined = givers.flatten(2) @ transition(weights, config.rounds, config.squarings).transpose(1, 2)
    return refined.view_as(maps)


def transition(weights: torch.Tensor, rounds: int, squarings: int) -> torch.Tensor:
    """Sinkhorn's normalisation of (B, N, N), columns before rows, made symmetric and squared."""
    for _ in range(rounds):
        weights = weights / weights.sum(1, keepdim=True)
        weights = weights / weights.sum(2, keepdim=True)
    weights = (weights + weights.transpose(1, 2)) / 2
    for _ in range(squarings):
        weights = weights @ weights
    return weights


def boxes(maps: torch.Tensor, threshold: float, whole: bool) -> torch.Tensor:
    """Boxes around the 8-connected parts of each map (B, C, h, w) above a share of its maximum, as 0 and 1.

    Levels are those of a byte. whole: up to the last row and column, which the reference leaves out of every box
    """
    levels = (maps.detach().float().cpu().numpy() * 255).astype(np.uint8)
    found = np.zeros(levels.shape, dtype=np.float32)
    height, width = levels.shape[-2:]
    bottom, right = (height, width) if whole else (height - 1, width - 1)
    for at in np.argwhere(levels.any((2, 3))):
        level = levels[tuple(at)]
        parts, _ = label(level > int(threshold * int(level.max())), np.ones((3, 3)))
        for rows, columns in find_objects(parts):
            found[tuple(at)][
                rows.start : min(rows.stop, bottom), columns.start : min(columns.stop, right)
            ] = 1
    return torch.from_numpy(found).to(maps)
