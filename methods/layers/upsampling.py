"""Bilinear enlargement inside losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def enlarged(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Maps (B, C, h, w) -> (B, C, H, W) float32, as `F.interpolate` (bilinear, align_corners=False) gives them.

    As two matrix products: the backward pass of `F.interpolate` is not deterministic on a GPU, and on a CPU it takes
    three times as long.
    """
    rows, columns = (_weights(old, new, maps.device) for old, new in zip(maps.shape[-2:], size, strict=True))
    with torch.autocast(maps.device.type, enabled=False):
        return rows @ maps.float() @ columns.T


def _weights(old: int, new: int, device: torch.device) -> torch.Tensor:
    """(new, old): what each new row takes of each old one."""
    unit = torch.eye(old, device=device)[None, None]
    return F.interpolate(unit, (new, old), mode="bilinear", align_corners=False)[0, 0]
