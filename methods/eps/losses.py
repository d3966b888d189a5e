"""EPS's joint training (Lee et al., CVPR 2021): saliency loss with map selection, and classification loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from methods.base import MethodError


class SaliencyLoss(NamedTuple):
    """loss: scalar; the maps, each (N, 1, h, w) in [0, 1]: M_fg, 1 - M_bg and the estimated saliency."""

    loss: torch.Tensor
    foreground: torch.Tensor
    inverted_background: torch.Tensor
    estimated_saliency: torch.Tensor


def saliency_loss(
    cam_logits: torch.Tensor,
    saliency: torch.Tensor,
    labels: torch.Tensor,
    overlap_threshold: float = 0.4,
    foreground_weight: float = 0.5,
    map_selection: str = "adaptive",
    predefined_background: Sequence[int] = (),
) -> SaliencyLoss:
    """Squared distance of the saliency estimated from the localisation maps to the given one (Eq. 1 to 3).

    cam_logits: (N, C + 1, h, w), background last
    saliency:   (N, 1, H, W) in [0, 1], resized to (h, w) by nearest neighbour
    labels:     (N, C), 1 where the class is present
    overlap_threshold: tau of Eq. 2, in [0, 1]
    foreground_weight: lambda of Eq. 1, in [0, 1]
    map_selection: which present classes' maps count as foreground (Tab. 3); the others join the background.
        "naive" all of them; "predefined" all but `predefined_background` (indices of classes that saliency
        detectors overlook: sofa, chair, dining table); "adaptive" those that overlap the saliency
        by more than tau
    """
    saliency = F.interpolate(saliency, size=cam_logits.shape[-2:], mode="nearest")
    maps = cam_logits.softmax(dim=1)
    objects, background = maps[:, :-1], maps[:, -1:]
    present = labels[:, :, None, None] > 0

    salient = _is_foreground(
        objects.detach(), saliency, overlap_threshold, map_selection, predefined_background
    )[:, :, None, None]
    foreground = (objects * (present & salient)).sum(dim=1, keepdim=True)  # Eq. 2
    background = (objects * (present & ~salient)).sum(dim=1, keepdim=True) + background  # Eq. 2
    inverted = 1 - background
    estimated = foreground_weight * foreground + (1 - foreground_weight) * inverted  # Eq. 1
    return SaliencyLoss(F.mse_loss(estimated, saliency), foreground, inverted, estimated)  # Eq. 3


def overlap_ratio(maps: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """O(M_i, M_s) = |B_i and B_s| / (|B_i| + 1e-4 h w) of Sec. 3.2, B = value > .5; the second term is the code's.

    maps (N, C, h, w) and saliency (N, 1, h, w), in [0, 1] -> (N, C)
    """
    binary = maps.round()
    # The reference code adds 1e-4 at every pixel, not once: the ratio is a little lower for small maps.
    return (binary * saliency.round()).sum(dim=(2, 3)) / (binary + 1e-4).sum(dim=(2, 3))


def _is_foreground(
    objects: torch.Tensor,
    saliency: torch.Tensor,
    overlap_threshold: float,
    map_selection: str,
    predefined_background: Sequence[int],
) -> torch.Tensor:
    """(N, C) bool: the class's map belongs to the foreground, were the class present."""
    if map_selection == "adaptive":
        return overlap_ratio(objects, saliency) > overlap_threshold
    selected = torch.ones(objects.shape[:2], dtype=torch.bool, device=objects.device)
    if map_selection == "predefined":
        selected[:, list(predefined_background)] = False
    elif map_selection != "naive":
        raise MethodError(f"unknown map_selection {map_selection!r}; choose naive, predefined or adaptive")
    return selected


def classification_loss(cam_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Multi-label soft margin loss of the averaged object maps (Eq. 4); the background map is left out.

    cam_logits (N, C + 1, h, w), background last; labels (N, C), 0 or 1 -> scalar
    """
    return F.multilabel_soft_margin_loss(cam_logits[:, :-1].mean(dim=(2, 3)), labels)
