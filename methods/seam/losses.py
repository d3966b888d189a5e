"""SEAM's losses: classification, rectified minima, equivariance of two views (train_SEAM.py of its code)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch.nn.functional import multilabel_soft_margin_loss

EPSILON = 1e-5
SMALLEST = 4
"""The rectified minima are over a 1 / SMALLEST of an image's pixels."""
Views = tuple[torch.Tensor, torch.Tensor]
"""Maps of background and classes before and after PCM, two of (B, 1 + C, H, W)."""


def seam_losses(
    full: Views, small: Views, labels: torch.Tensor, hard_share: float
) -> Mapping[str, torch.Tensor]:
    """Named scalar terms, whose sum is the loss.

    full, small: the maps of an image and of the same image reduced
    labels:      (B, C) in {0, 1}
    hard_share:  share of an image's differences, the largest, that equivariant cross regularisation is over
    """
    present = F.pad(labels.float(), (1, 0), value=1.0)[:, :, None, None]  # the background is always there
    views = (full, small)
    classification = sum(
        multilabel_soft_margin_loss(maps[:, 1:].mean((2, 3)), labels.float()) for maps, _ in views
    )
    minima = sum(rectified_minima((refined * present)[:, 1:]) for _, refined in views)
    size = (small[0].shape[-2], small[0].shape[-1])
    (cam1, refined1), (cam2, refined2) = (
        tuple(
            F.interpolate(stretched(m), size=size, mode="bilinear", align_corners=True) * present
            for m in view
        )
        for view in views
    )
    equivariance = (cam1[:, 1:] - cam2[:, 1:]).abs().mean()
    cross = hardest(strongest(with_background(cam2)).detach() - refined1, hard_share) + hardest(
        strongest(with_background(cam1)).detach() - refined2, hard_share
    )
    return {
        "classification": torch.as_tensor(classification) / 2,
        "minima": torch.as_tensor(minima) / 2,
        "equivariance": equivariance,
        "cross": cross,
    }


def stretched(maps: torch.Tensor) -> torch.Tensor:
    """Each rectified map of (..., h, w), its minimum taken away and divided by its range: [0, 1]."""
    maps = maps.relu()
    least, most = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - least - EPSILON).relu() / (most - least + EPSILON)


def contrast_stretched(maps: torch.Tensor) -> torch.Tensor:
    """The same as infer_SEAM.py has it: what is less than the minimum + 1e-5 becomes 0 first, and so less than 0."""
    maps = maps.relu()
    least, most = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    kept = torch.where(maps < least + EPSILON, 0, maps)
    return (kept - least - EPSILON) / (most - least + EPSILON)


def rectified_minima(maps: torch.Tensor) -> torch.Tensor:
    """Mean of the smallest quarter of the pixels of the strongest class: (B, C, H, W) -> scalar."""
    strongest_class = maps.amax(1).flatten(1)
    count = strongest_class.shape[1] // SMALLEST
    return strongest_class.topk(count, dim=1, largest=False).values.relu().mean()


def with_background(maps: torch.Tensor) -> torch.Tensor:
    """(B, 1 + C, h, w) with 1 - the classes' maximum as the background's map."""
    return torch.cat([1 - maps[:, 1:].amax(1, keepdim=True), maps[:, 1:]], 1)


def strongest(maps: torch.Tensor) -> torch.Tensor:
    """(B, 1 + C, h, w) in which a pixel keeps the background and the strongest of its classes, the others being 0."""
    objects = maps[:, 1:]
    kept = torch.where(objects < objects.amax(1, keepdim=True), 0, objects)
    return torch.cat([maps[:, :1], kept], 1)


def hardest(differences: torch.Tensor, share: float) -> torch.Tensor:
    """Mean of the largest absolute values of an image's (B, K, h, w), a `share` of them, and over images."""
    flat = differences.abs().flatten(1)
    return flat.topk(int(flat.shape[1] * share), dim=1).values.mean()
