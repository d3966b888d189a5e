"""Pseudo-labels made during training, from the step's CAM, for the decoder to learn from."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from datasets.base import IGNORE
from methods.layers.cam import resize
from methods.layers.par import pixel_adaptive_refinement
from methods.refiners.affinity_labels import confident_labels
from methods.refiners.gc.config import CorrectionConfig
from methods.refiners.gc.correction import gaussian_correction
from methods.toco.parts import LabelConfig

PAR_STRIDE = 2
"""PAR runs at half the images' size, as in ToCo's code."""


@torch.no_grad()
def training_labels(
    images: torch.Tensor,
    cam: torch.Tensor,
    features: torch.Tensor,
    valid: torch.Tensor,
    settings: LabelConfig,
    correction: CorrectionConfig | None,
) -> torch.Tensor:
    """Labels (B, H, W) int64: 0 background, class + 1, 255 ignored.

    images: (B, 3, H, W); cam: (B, C, h, w) in [0, 1], zero for absent classes; features: (B, D, h, w)
    valid:  (B, H, W) bool, False in the padding around an image, which is ignored
    """
    cams = resize(cam, (images.shape[-2], images.shape[-1]))
    if settings.refines:
        labels = par_labels(images, cams, settings.low, settings.high)
    else:
        labels = threshold_labels(cams, settings.background_threshold)
    if correction is not None:
        labels = gaussian_correction(labels, cams, features.float(), correction, valid)
    return torch.where(valid, labels, IGNORE)


def threshold_labels(cams: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
    """Winning class + 1 above the threshold, else 0: (B, C, H, W) -> (B, H, W) int64."""
    confidence, winner = cams.max(1)
    return torch.where(confidence > threshold, winner + 1, 0)


def par_labels(
    images: torch.Tensor, cams: torch.Tensor, low: float, high: float | torch.Tensor
) -> torch.Tensor:
    """ToCo's labels: foreground where PAR says so against a background of `high`, background where it does so
    against `low`, else 255. The softmax is over an image's classes and the background.

    images: (B, 3, H, W); cams: (B, C, H, W), zero for absent classes -> (B, H, W) int64
    high: of all images, or of each, (B,)
    """
    size = (images.shape[-2], images.shape[-1])
    half = (max(1, size[0] // PAR_STRIDE), max(1, size[1] // PAR_STRIDE))
    images, maps = resize(images, half), resize(cams, half)
    present = cams.amax((2, 3)) > 0
    # The present classes of each image first, and of those as many as the fullest image has.
    count = max(1, int(present.sum(1).max()))
    order = present.int().argsort(dim=1, descending=True, stable=True)[:, :count]
    maps = maps.gather(1, order[:, :, None, None].expand(-1, -1, *half))
    maps = maps.masked_fill(~present.gather(1, order)[:, :, None, None], -torch.inf)
    found = []
    for threshold in (high, low):
        background = torch.as_tensor(threshold, dtype=maps.dtype, device=maps.device).view(-1, 1, 1, 1)
        scores = torch.cat([background.expand(len(maps), 1, *half), maps], 1).softmax(1)
        found.append(resize(pixel_adaptive_refinement(images, scores), size).argmax(1))
    winners = confident_labels(*found)
    classes = F.pad(order + 1, (1, 0))  # 0 is the background
    labels = classes.gather(1, winners.clamp_max(order.shape[1]).flatten(1)).view_as(winners)
    return torch.where(winners == IGNORE, IGNORE, labels)
