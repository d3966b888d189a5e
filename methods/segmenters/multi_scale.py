"""Learning at several scales at once, as the reference DeepLab V2 does (Chen et al., arXiv:1606.00915, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from datasets.base import IGNORE
from datasets.loading.loader import Batch


class MultiScale(nn.Module):
    """A segmentation network on one batch at several scales; in one forward, which DDP needs.

    forward: images (B, 3, H, W) -> logits by name, (B, C, h, w) each: of scale 1, of every other scale at its
             own resolution, and their pixelwise maximum at scale 1's
    """

    def __init__(self, network: nn.Module, scales: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.scales = tuple(scales)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        full = self.network(images)
        logits = {"1": full}
        for scale in self.scales:
            size = [int(side * scale) for side in images.shape[-2:]]
            scaled = interpolate(images, size, mode="bilinear", align_corners=False)
            logits[f"{scale:g}"] = self.network(scaled)
        enlarged = [
            interpolate(x, full.shape[-2:], mode="bilinear", align_corners=False) for x in logits.values()
        ]
        return {**logits, "maximum": torch.stack(enlarged).amax(0)}


def multi_scale_losses(network: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
    """Cross-entropy of each of `MultiScale`'s logits with the labels at their resolution (nearest), 255 ignored."""
    labels = batch.dense_maps["labels"]
    losses = {}
    for name, logits in network(batch.images).items():
        shrunk = interpolate(labels[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0].long()
        total = cross_entropy(logits, shrunk, ignore_index=IGNORE, reduction="sum")
        losses[f"segmentation_{name}"] = total / (shrunk != IGNORE).sum().clamp_min(1)
    return losses
