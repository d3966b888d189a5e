"""Local prototypes of a class and of its contexts: centres of the features inside and outside its CAM.

Source: Chen & Sun, CVPR 2023, Sec. 3.2, and step/make_lpcam.py of its code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

MOST_ROUNDS = 1000
"""Of K-Means, which its tolerance ends after two to four."""


def inside_and_outside(
    features: torch.Tensor, cams: torch.Tensor, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of the cells where a class's CAM is above and below a threshold; those that equal it are in neither.

    features: (B, D, h, w); cams: (B, H, W), of the images' size, in [0, 1] -> (n, D) and (m, D), image by image
    """
    at_cells = F.interpolate(cams[:, None], size=features.shape[-2:], mode="nearest")[:, 0]
    cells = features.permute(0, 2, 3, 1)
    return cells[at_cells > threshold], cells[at_cells < threshold]


def cluster(
    features: torch.Tensor, start: torch.Tensor, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """K-Means by cosine distance: (n, D) and centres to start from (K, D) -> centres (K, D), clusters (n,).

    A centre is the mean of its members as they are, not normalised; one that has none stays. Ends when the squared
    sum of the distances that the centres moved is below the tolerance. Without features there are no centres.
    """
    directions = F.normalize(features, dim=1)
    centres = start
    members = torch.zeros(len(features), dtype=torch.long, device=features.device)
    for _ in range(MOST_ROUNDS if len(features) else 0):
        members = (directions @ F.normalize(centres, dim=1).T).argmax(1)
        counts = torch.bincount(members, minlength=len(centres))[:, None]
        sums = torch.zeros_like(centres).index_add_(0, members, features)
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        shift = (moved - centres).norm(dim=1).sum() ** 2
        centres = moved
        if shift < tolerance:
            break
    return centres, members


def confidence(centres: torch.Tensor, class_weights: torch.Tensor, label: int) -> torch.Tensor:
    """What the classifier says of centres: (K, D), its weights (C, D) -> probability of class `label` (K,) (Eq. 4)."""
    return (centres @ class_weights.T).softmax(1)[:, label]


def mean_direction(centres: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Mean of the kept centres' unit vectors, (D,): its product with a unit vector is the mean of the cosines.

    Zeros where none is kept.
    """
    chosen = F.normalize(centres, dim=1) * kept[:, None]
    return chosen.sum(0) / kept.sum().clamp(min=1)


def prototype_maps(features: torch.Tensor, foreground: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Similarity to a class's prototypes less that to its contexts, rectified (Eq. 6): (B, D, h, w) -> (B, C, h, w).

    foreground, context: mean directions, (C, D); where a class has no context the former alone counts
    """
    directions = F.normalize(features, dim=1)
    return F.conv2d(directions, (foreground - context)[:, :, None, None]).relu()
