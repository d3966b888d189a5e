"""WeCLIP's loss of affinities (Zhang et al., CVPR 2024); that of the segmentation is ToCo's."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.base import IGNORE


def window(grid: tuple[int, int], radius: int, device: torch.device | None = None) -> torch.Tensor:
    """(N, N) bool: pairs of a grid's cells that are at most `radius` rows and columns apart."""
    rows, columns = (torch.arange(side, device=device) for side in grid)
    at = torch.cartesian_prod(rows, columns)
    return (at[:, None] - at[None]).abs().amax(2) <= radius


def affinity_labels(labels: torch.Tensor, grid: tuple[int, int], near: torch.Tensor) -> torch.Tensor:
    """(B, N, N): 1 for pairs of cells of one label, 0 for others, 255 for those that are not near.

    labels: (B, H, W), of which each cell takes one; a pair with 255 is 255. near: (N, N), see `window`
    """
    cells = F.interpolate(labels[:, None].float(), grid, mode="nearest").flatten(1)
    alike = (cells[:, :, None] == cells[:, None, :]).long()
    known = cells != IGNORE
    counted = near & known[:, :, None] & known[:, None, :]
    return torch.where(counted, alike, IGNORE)


def affinity_loss(
    affinity: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss of affinities (B, N, N) in [0, 1] by `affinity_labels`, and the numbers of alike and other pairs.

    Either kind's mean counts half, over one pair more than there are.
    """
    alike, others = labels == 1, labels == 0
    together = ((1 - affinity) * alike).sum() / (alike.sum() + 1)
    apart = (affinity * others).sum() / (others.sum() + 1)
    return 0.5 * together + 0.5 * apart, alike.sum(), others.sum()
