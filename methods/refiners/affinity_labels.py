"""Labels for pairs of cells: alike background, alike foreground, unlike (PSA, Ahn and Kwak, CVPR 2018, Sec. 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from datasets.base import IGNORE
from methods.refiners.random_walk import Offsets


class AffinityLabels(NamedTuple):
    """Of each pair, (B, P, h, w) bool; a pair with an ignored cell is in none of them."""

    background_positive: torch.Tensor
    foreground_positive: torch.Tensor
    negative: torch.Tensor


def confident_labels(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Label map of what two label maps of one image agree on; 0 background, c + 1 class c, 255 ignored.

    low:  (..., H, W), made with a low background power, hence much background: its foreground is taken
    high: made with a high power, hence little background: its background is taken, against `low` if need be
    """
    foreground = torch.where(low == 0, IGNORE, low)
    return torch.where(high == 0, 0, foreground).to(low.dtype)


def cell_labels(labels: torch.Tensor, stride: int) -> torch.Tensor:
    """The most frequent label of each stride x stride block: (B, H, W) -> (B, H / stride, W / stride)."""
    batch, height, width = labels.shape
    blocks = labels.view(batch, height // stride, stride, width // stride, stride)
    return blocks.transpose(2, 3).flatten(3).mode().values


def affinity_labels(labels: torch.Tensor, offsets: Offsets) -> AffinityLabels:
    """Labels of the pairs (y, x), (y + dy, x + dx) for the first cells all of whose partners are in the grid.

    labels: (B, H, W); 0 background, 255 ignored
    Returns (B, P, H - r, W - 2 r) with r the largest offset: cell (y, x) of it is (y, x + r) of the labels. Pad
    the labels with 255 by r at the left, right and bottom to have every cell.
    """
    reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    dy, dx = torch.tensor(offsets, device=labels.device).unbind(1)
    windows = labels.unfold(1, reach + 1, 1).unfold(
        2, 2 * reach + 1, 1
    )  # (B, H - r, W - 2 r, r + 1, 2 r + 1)
    first = windows[..., 0, reach].unsqueeze(1)
    second = windows[..., dy, dx + reach].permute(0, 3, 1, 2)
    valid = (first != IGNORE) & (second != IGNORE)
    alike = first == second
    return AffinityLabels(valid & alike & (first == 0), valid & alike & (first != 0), valid & ~alike)
