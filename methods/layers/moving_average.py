"""Exponential moving averages of networks."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def average(target: nn.Module, source: nn.Module, kept: float) -> None:
    """target = kept * target + (1 - kept) * source, of every parameter and statistic; counters are the source's.

    A module of the target that never runs has no statistics of its own: the averaged weights need the source's.
    """
    for old, new in zip(target.parameters(), source.parameters(), strict=True):
        old.lerp_(new, 1 - kept)
    for own, other in zip(target.buffers(), source.buffers(), strict=True):
        if own.is_floating_point():
            own.lerp_(other, 1 - kept)
        else:
            own.copy_(other)
