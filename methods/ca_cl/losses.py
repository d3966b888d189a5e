"""CA-CL's losses (Bai et al., Acta Electronica Sinica 2025) and the choices they rest on: prompts and thresholds.

Similarities are cosines of CLIP's features: of the N pairs of an image and a class that is present in it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from methods.base import MethodError
from methods.ca_cl.config import GATES, REDUCTIONS

LEAST = 1e-4
"""1 - similarity is clamped to this before the logarithm."""


def select_prompts(similarity: torch.Tensor) -> torch.Tensor:
    """DCPS (Eq. 4): the prompt most similar to the foreground; (N, m) -> (N,) int64. No gradient."""
    return similarity.detach().argmax(dim=1)


def image_text_contrast(
    foreground: torch.Tensor, background: torch.Tensor, margin: float = 0.5
) -> torch.Tensor:
    """L_ITC (Eq. 6, 7): mean of max(0, margin - s(FG, T*) + s(BG, T*)) over the pairs.

    foreground, background: (N,) similarities with the chosen text, in [-1, 1]; scalar 0 for N = 0
    """
    return (margin - foreground + background).clamp_min(0).sum() / max(1, len(foreground))


class Suppression(NamedTuple):
    """loss: scalar; selected: (N, L) bool, texts that are suppressed."""

    loss: torch.Tensor
    selected: torch.Tensor


def background_suppression(
    similarity: torch.Tensor,
    threshold: torch.Tensor,
    gate: str = "straight_through",
    steepness: float = 50.0,
    images: int = 1,
    reduction: str = "sum",
) -> Suppression:
    """L_BGS (Eq. 9 to 12): -log(1 - similarity t) of background texts of at least the threshold.

    similarity: (N, L) of N foregrounds and the L = m n background texts of their classes, in [-1, 1]
    threshold:  scalar θ, or (N, 1) of the foregrounds' classes. Eq. 11 learns it from ∂L/∂θ, which the printed 0/1 gate t
                of Eq. 10 does not have:
    gate:       "straight_through": t is 0 or 1, and θ, only θ, is given the gradient of a sigmoid in its place;
                "sigmoid": t = σ(steepness (similarity - θ)) itself, with its gradient to both
    steepness:  of the sigmoid; per unit of similarity
    images:     B, by which "mean" divides
    reduction:  "sum" over the batch (Eq. 12 and CLIMS's code have no mean), or "mean" over its images
    Raises MethodError for an unknown gate or reduction.
    """
    selected = similarity.detach() >= threshold.detach()
    if gate == "straight_through":
        soft = torch.sigmoid(steepness * (similarity.detach() - threshold))
        passed = selected.to(soft.dtype) + soft - soft.detach()
    elif gate == "sigmoid":
        passed = torch.sigmoid(steepness * (similarity - threshold))
    else:
        raise MethodError(f"unknown gate {gate!r}; choose {', '.join(GATES)}")
    if reduction not in REDUCTIONS:
        raise MethodError(f"unknown reduction {reduction!r}; choose {', '.join(REDUCTIONS)}")
    total = -(1 - similarity * passed).clamp_min(LEAST).log().sum()
    return Suppression(total if reduction == "sum" else total / images, selected)
