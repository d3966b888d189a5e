"""Contrast of transformer tokens (ToCo: Ru et al., CVPR 2023): patch tokens by pseudo-labels, class tokens by crops."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.base import IGNORE


def token_labels(cam: torch.Tensor, low: float, high: float | torch.Tensor) -> torch.Tensor:
    """Labels of patch tokens from a CAM: class + 1 above `high`, 0 below `low`, 255 between (Eq. 3 of DSKD-GC).

    cam: (B, C, h, w) in [0, 1], absent classes zero -> (B, h, w) int64
    high: of all images, or of each, (B, 1, 1)
    """
    confidence, winner = cam.max(1)
    labels = torch.where(confidence > high, winner + 1, IGNORE)
    return torch.where(confidence < low, 0, labels)


def patch_token_contrast(features: torch.Tensor, labels: torch.Tensor, absolute: bool = True) -> torch.Tensor:
    """PTC: tokens of one label are to be alike, others unlike (Eq. 4, 5 of DSKD-GC).

    features: (B, D, h, w); labels: (B, h, w), 255 ignored. Pairs are those of one image, without a token and itself.
    absolute: |cos| as in ToCo's code, which drives unlike tokens to be orthogonal; else cos as printed
    As in the code, either mean counts half and has one added to its number of pairs.
    """
    tokens = F.normalize(features.flatten(2), dim=1, eps=1e-8)
    similarity = tokens.transpose(1, 2) @ tokens  # (B, N, N)
    if absolute:
        similarity = similarity.abs()
    flat = labels.flatten(1)
    counted = flat != IGNORE
    pairs = counted[:, :, None] & counted[:, None, :]
    pairs = pairs & ~torch.eye(flat.shape[1], dtype=torch.bool, device=flat.device)
    alike = flat[:, :, None] == flat[:, None, :]
    positive, negative = pairs & alike, pairs & ~alike
    together = (similarity * positive).sum() / (positive.sum() + 1)
    apart = (similarity * negative).sum() / (negative.sum() + 1)
    return (0.5 * (1 - together) + 0.5 * apart).to(features.dtype)


def class_token_contrast(
    local_tokens: torch.Tensor, global_tokens: torch.Tensor, positive: torch.Tensor, temperature: float = 0.5
) -> torch.Tensor:
    """CTC: class tokens of the image agree with those of its positive crops, against its negative crops.

    local_tokens:  (n * B, D), crop by crop; similarity is the dot product
    global_tokens: (2 * B, D), view by view; no gradient goes into them in ToCo
    positive:      (B, n), not zero where a crop is positive
    The reference adds the term of an empty positive, once for each image; so does this.
    """
    images, crops = positive.shape
    local = local_tokens.view(crops, images, -1).transpose(0, 1)  # (B, n, D)
    views = global_tokens.view(2, images, -1).transpose(0, 1)  # (B, 2, D)
    scores = (views @ local.transpose(1, 2) / temperature).exp()  # (B, 2, n)
    wanted = (positive != 0)[:, None, :]
    against = scores.masked_fill(wanted, 0).sum(2, keepdim=True) + 1e-4  # (B, 2, 1)
    terms = (scores / (scores + against)).log().masked_fill(~wanted, 0).sum(2)
    terms = terms + (1 / (1 + against[..., 0])).log()
    count = wanted.sum((1, 2)) + 1e-4
    return -(terms.sum(1) / 2 / count).mean()
