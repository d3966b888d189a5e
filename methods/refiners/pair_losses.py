"""What the losses of PSA and IRNet share: the mean over pairs of cells."""

from __future__ import annotations

import torch

EPSILON = 1e-5


def pair_mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Over the pairs `where` (B, P, h, w); of values (B, P, h, w) or (B, 2, P, h, w)."""
    components = 1
    if values.ndim > where.ndim:
        components, where = values.shape[1], where.unsqueeze(1)
    return (values * where).sum() / (components * where.sum() + EPSILON)
