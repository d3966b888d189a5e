"""CLIMS's losses (Xie et al., CVPR 2022, Sec. 3.3): of cosine similarities of image regions and texts."""

from __future__ import annotations

import torch

LOWEST, HIGHEST = 1e-4, 0.9999
"""The reference code clamps similarities to this range before the logarithm."""


def object_text_matching(similarity: torch.Tensor, factors: torch.Tensor | float = 1.0) -> torch.Tensor:
    """L_OTM: -log of the similarity of a foreground and its class's text, averaged.

    similarity: (N,) or any other shape, in [-1, 1]; scalar 0 for N = 0
    factors:    on the terms, of the same shape; they are no weights of a mean, which stays one over N
    """
    return _mean(-similarity.clamp(LOWEST, HIGHEST).log() * factors)


def background_text_matching(similarity: torch.Tensor, factors: torch.Tensor | float = 1.0) -> torch.Tensor:
    """L_BTM: -log(1 - similarity) of what the CAM leaves out and the class's text, averaged.

    similarity, factors: as `object_text_matching`'s
    """
    return _mean(-(1 - similarity.clamp(LOWEST, HIGHEST)).log() * factors)


def co_occurring_background_suppression(similarity: torch.Tensor, threshold: float) -> torch.Tensor:
    """L_CBS: -log(1 - similarity) of foregrounds and background texts that are more similar than a threshold.

    similarity: (N, L) of N foregrounds and L texts, in [-1, 1)
    threshold:  in [-1, 1]; similarities above it count (CLIMS: .26; COCO: .285)
    Returns the sum over all pairs, as the reference code: under several processes, of a process's slice alone.
    """
    selected = similarity > threshold
    # 1e-4 bounds the gradient of a perfect match; the reference's logarithm is infinite there.
    return -((1 - similarity).clamp_min(LOWEST).log() * selected).sum()


def area_regularisation(maps: torch.Tensor) -> torch.Tensor:
    """L_REG: mean of the maps (B, C, h, w) in [0, 1] over all classes, absent ones included, and cells."""
    return maps.mean()


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.sum() / max(1, values.numel())
