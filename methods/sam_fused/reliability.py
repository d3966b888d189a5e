"""How far the masks of several views agree (Liu, 2025, Sec. 2.3, Eq. 3 and 4)."""

from __future__ import annotations

import math

import torch


def mean_mask(masks: torch.Tensor) -> torch.Tensor:
    """M̃ (Eq. 3): masks of K views (K, ...) -> their mean (...), in [0, 1]."""
    return masks.float().mean(0)


def entropy(mean: torch.Tensor) -> torch.Tensor:
    """Ẽ (Eq. 4) of M̃ in [0, 1], in nats: 0 where all views agree, log 2 where half of them do."""
    return torch.special.entr(mean) + torch.special.entr(1 - mean)


def reliability(means: torch.Tensor) -> torch.Tensor:
    """Weight of each pixel, in [0, 1]: 1 - Ẽ / log 2, of the present class whose masks agree least.

    means: (..., P, H, W), M̃ of P classes -> (..., H, W); 1 where there is no class
    """
    if not means.shape[-3]:
        return means.new_ones(*means.shape[:-3], *means.shape[-2:])
    return 1 - entropy(means).amax(-3) / math.log(2)
