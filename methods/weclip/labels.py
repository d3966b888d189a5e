"""WeCLIP's pseudo-labels of a training step: Grad-CAM of CLIP, spread by attention that the decoder corrects (RFM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from methods.layers.cam import resize
from methods.layers.clip.affinity import last_of, mean_attention
from methods.layers.par import pixel_adaptive_refinement
from methods.refiners.cam_maps import background_score


def corrected_attention(
    attention: Sequence[torch.Tensor], affinity: torch.Tensor, blocks: int, absolute: bool = False
) -> torch.Tensor:
    """RFM: the mean of some of the last attentions, times the decoder's affinity, (B, N, N).

    attention: of blocks, (B, N, N) each; affinity: (B, N, N) in [0, 1]
    blocks:    last ones of which those are kept that differ no more from the affinity than they do on average
    absolute:  the difference is the sum of the pairs' absolute ones, as printed. In the code it is that of the signed
               ones, of which the affinity's part is all blocks' the same
    """
    last = torch.stack(last_of(attention, blocks), 1)
    differences = affinity[:, None] - last
    totals = (differences.abs() if absolute else differences).sum((2, 3))
    kept = (totals <= totals.mean(1, keepdim=True)).to(last.dtype)
    mean = (last * kept[:, :, None, None]).sum(1) / (kept.sum(1)[:, None, None] + 1e-5)
    return mean * affinity


def weights_of_patches(
    attention: Sequence[torch.Tensor],
    affinity: torch.Tensor | None,
    plain_blocks: int,
    blocks: int,
    absolute: bool,
) -> torch.Tensor:
    """What spreads the maps, (B, N, N): CLIP-ES's mean of attentions, or with an affinity, RFM's."""
    if affinity is None:
        return mean_attention(attention, plain_blocks)
    return corrected_attention(attention, affinity, blocks, absolute)


def refined_labels(
    images: torch.Tensor, maps: torch.Tensor, present: torch.Tensor, iterations: int
) -> torch.Tensor:
    """Labels (B, H, W) int64 of maps (B, C, h, w) in [0, 1] and a background of what they leave, refined by PAR.

    images: (B, 3, H, W), on any scale; present: (B, C) bool
    """
    count = max(1, int(present.sum(1).max()))
    order = present.int().argsort(dim=1, descending=True, stable=True)[:, :count]
    maps = resize(maps, (images.shape[-2], images.shape[-1]))
    chosen = maps.gather(1, order[:, :, None, None].expand(-1, -1, *maps.shape[-2:]))
    scores = torch.cat([background_score(chosen, 1.0), chosen], 1)
    refined = pixel_adaptive_refinement(images, scores, iterations=iterations)
    # What pads an image's classes to the batch's most has maps of zeros, which win nowhere.
    winners = refined.argmax(1)
    ids = F.pad(order + 1, (1, 0))
    return ids.gather(1, winners.flatten(1)).view_as(winners)
