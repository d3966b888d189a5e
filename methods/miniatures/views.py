"""Views of the pretraining world's pictures that the miniature classifier is trained on."""

from __future__ import annotations

import torch
from torch.nn.functional import grid_sample

from datasets.recipe import IMAGENET


def normalised(images: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) -> float, with ImageNet's statistics, as the backbones expect."""
    mean = torch.tensor(IMAGENET.mean).view(3, 1, 1)
    std = torch.tensor(IMAGENET.std).view(3, 1, 1)
    return (images.float() / 255 - mean) / std


def plainer(images: torch.Tensor, masks: torch.Tensor, plainness: float) -> torch.Tensor:
    """Fade normalised images (B, 3, S, S) towards light-on-dark or dark-on-light silhouettes of their masks.

    Forms in random colours on random grounds teach nothing for thousands of iterations; starting plain and
    fading to the full pictures is a curriculum. plainness: share of the silhouette, 1 (all) to 0 (none).
    """
    if plainness <= 0:
        return images
    batch = len(images)
    share = torch.ones(batch) if plainness >= 1 else (2 * torch.rand(batch)).clamp_max(1) * plainness
    sign = torch.where(torch.rand(batch) < 0.5, -1.0, 1.0)
    silhouettes = sign.view(-1, 1, 1, 1) * (2 * masks.float().unsqueeze(1) - 1)
    share = share.view(-1, 1, 1, 1)
    return images * (1 - share) + silhouettes * share


def object_centred(images: torch.Tensor, masks: torch.Tensor, size: int, *, jitter: bool) -> torch.Tensor:
    """Square crops around the salient pixels, as ImageNet's pictures are centred on their object.

    images (B, 3, S, S), masks (B, S, S) -> (B, 3, size, size). jitter: random margin, shift and mirror image.
    """
    top, bottom = _extent(masks.amax(2))
    left, right = _extent(masks.amax(1))
    batch, last = len(images), images.shape[-1] - 1
    side = (torch.maximum(bottom - top, right - left) + 1).clamp_min(20)
    side = side * (torch.empty(batch).uniform_(1.1, 1.6) if jitter else 1.3)
    shift = torch.empty(2, batch).uniform_(-0.1, 0.1) * side if jitter else torch.zeros(2, batch)
    mirror = torch.where(torch.rand(batch) < 0.5, -1.0, 1.0) if jitter else torch.ones(batch)
    steps = torch.linspace(-0.5, 0.5, size)
    rows = (((top + bottom) / 2 + shift[0])[:, None] + steps * side[:, None]) / last * 2 - 1
    columns = (((left + right) / 2 + shift[1])[:, None] + steps * (side * mirror)[:, None]) / last * 2 - 1
    grid = torch.stack(
        [columns[:, None, :].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], dim=-1
    )
    return grid_sample(images, grid, align_corners=True, padding_mode="reflection")


def _extent(present: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last index of the ones in each row of (B, S)."""
    ones = present > 0
    first = ones.float().argmax(1)
    last = present.shape[1] - 1 - ones.flip(1).float().argmax(1)
    return first.float(), last.float()
