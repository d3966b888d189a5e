"""Pretraining of the miniature SAM: clicks on things of the clicked world, mask loss, IoU from one click.

SAM's own loss is focal 20 : dice 1 (Kirillov et al., ICCV 2023, Sec. 3). At this size and within minutes that stays
flat, since nine pixels in ten are ground, with which focal loss is content; here dice is all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.nn.functional import adaptive_max_pool2d, interpolate, mse_loss, pad

from datasets.pretraining.clicks import MIN_PIXELS, innermost
from methods.layers.sam.model import NEGATIVE, NO_POINT, POSITIVE, Masks, decode, encode

PROMPTS = 4
"""Prompts a picture and iteration: the encoder, which costs most, is shared by them."""
POINTS = (3, 2)
"""Most positive and most negative points of a prompt."""
SMALLEST_VIEW = 0.4
"""Side of the smallest picture within the frame, as a share of it."""


class Prompts(NamedTuple):
    """points: (B, P, N, 2), x and y in pixels; labels: (B, P, N); masks: (B, P, H, W) bool, what is asked for."""

    points: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor


def draw_prompts(things: torch.Tensor, prompts: int = PROMPTS) -> Prompts:
    """Clicks on random things of each picture (B, H, W), numbered from 1.

    One positive point or up to POINTS[0]; up to POINTS[1] negative ones on what is not the thing. A thing with more
    pixels is not asked for more often than another; one of fewer than MIN_PIXELS is not, unless there is none else.
    """
    batch = len(things)
    numbers = torch.arange(1, int(things.max()) + 1)
    seen = (things[:, None] == numbers[:, None, None]).sum((2, 3))
    weight = (seen >= MIN_PIXELS).double() + 1e-6 * (seen > 0)
    chosen = numbers[torch.multinomial(weight, prompts, replacement=True)]
    masks = things[:, None] == chosen[:, :, None, None]
    flat = masks.flatten(0, 1).flatten(1)
    positive = torch.multinomial(flat.double(), POINTS[0], replacement=True)
    negative = torch.multinomial((~flat).double(), POINTS[1], replacement=True)
    index = torch.cat([positive, negative], dim=1).unflatten(0, (batch, prompts))
    width = things.shape[-1]
    points = torch.stack([index % width, index.div(width, rounding_mode="floor")], dim=-1)
    labels = torch.tensor([POSITIVE] * POINTS[0] + [NEGATIVE] * POINTS[1]).repeat(batch, prompts, 1)
    # A prompt keeps its first positive point, and of the others a random number.
    counts = (
        torch.randint(1, POINTS[0] + 1, (batch, prompts)),
        torch.randint(POINTS[1] + 1, (batch, prompts)),
    )
    kept = [torch.arange(most) < count[..., None] for most, count in zip(POINTS, counts)]
    return Prompts(points.float(), torch.where(torch.cat(kept, dim=2), labels, NO_POINT), masks)


def random_view(images: torch.Tensor, things: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures (B, 3, S, S) turned, mirrored and shrunk within their frame, of weaker contrast at times.

    One view for the whole batch. What is outside a smaller picture is 0, the mean colour, and belongs to no thing.
    """
    size = images.shape[-1]
    turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    images, things = images.rot90(turns, (2, 3)), things.rot90(turns, (1, 2))
    if mirrored:
        images, things = images.flip(-1), things.flip(-1)
    scale = torch.empty(()).uniform_(SMALLEST_VIEW, 1.0).item() if torch.rand(()) < 0.5 else 1.0
    height, width = (max(32, round(size * scale * side)) for side in _sides())
    images = interpolate(images, size=(height, width), mode="bilinear", antialias=True)
    numbers = things[:, None].float()
    things = interpolate(numbers, size=(height, width), mode="nearest-exact")[:, 0]
    lost = (things == 0).all(2).all(1)[:, None, None]  # nothing is left but what such sampling skips
    things = torch.where(lost, adaptive_max_pool2d(numbers, (height, width))[:, 0], things)
    images = images * torch.empty(len(images), 1, 1, 1).uniform_(0.4, 1.2)
    images = images + torch.empty(len(images), 1, 1, 1).uniform_(-0.4, 0.4)
    margin = (0, size - width, 0, size - height)
    return pad(images, margin), pad(things, margin).long()


def _sides() -> tuple[float, float]:
    """Height and width as shares of the longer one."""
    short = torch.empty(()).uniform_(0.6, 1.0).item()
    return (short, 1.0) if torch.rand(()) < 0.5 else (1.0, short)


def mask_loss(found: Masks, masks: torch.Tensor) -> torch.Tensor:
    """A scalar: the dice loss of the masks and the squared error of the IoU that is predicted.

    found: logits (B, P, h, w); masks: (B, P, H, W) bool, to whose size the logits are brought
    """
    logits = interpolate(found.logits, size=masks.shape[-2:], mode="bilinear", align_corners=False)
    probability = logits.sigmoid()
    overlap = (probability * masks).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + masks.sum((2, 3)) + 1)
    return dice.mean() + mse_loss(found.quality, mask_iou(logits.detach() > 0, masks))


def mask_iou(found: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boolean masks (..., H, W) -> (...), 0 where both are empty."""
    return (found & masks).sum((-2, -1)) / (found | masks).sum((-2, -1)).clamp_min(1)


def pretraining_loss(sam: Sam, images: torch.Tensor, things: torch.Tensor) -> torch.Tensor:
    """A scalar. images (B, 3, S, S), normalised; things (B, S, S)."""
    images, things = random_view(images, things)
    prompts = draw_prompts(things)
    return mask_loss(decode(sam, encode(sam, images), prompts.points, prompts.labels), prompts.masks)


def one_click_score(sam: Sam, images: torch.Tensor, clicked: torch.Tensor, things: torch.Tensor) -> float:
    """IoU of each picture's clicked thing (B,) from one click at its innermost pixel, summed."""
    masks = things == clicked[:, None, None]
    points = torch.from_numpy(np.array([innermost(mask) for mask in masks.numpy()], dtype=np.float32))
    labels = torch.full((len(images), 1, 1), POSITIVE)
    found = decode(sam, encode(sam, images), points[:, None, None], labels)
    logits = interpolate(found.logits, size=masks.shape[-2:], mode="bilinear", align_corners=False)
    return float(mask_iou(logits[:, 0] > 0, masks).sum())
