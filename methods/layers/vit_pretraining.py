"""Pretraining of the miniature vision transformer: image classification, helped by classifying its patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer


class Scores(NamedTuple):
    """image: (B, K); patches: (B, K + 1, h, w), the first channel is the background."""

    image: torch.Tensor
    patches: torch.Tensor


class VitClassifier(nn.Module):
    """A timm transformer with a classifier on its class token and one on its patch tokens."""

    def __init__(self, trunk: VisionTransformer, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.image_head = nn.Linear(trunk.embed_dim, classes)
        self.patch_head = nn.Linear(trunk.embed_dim, classes + 1)

    def forward(self, images: torch.Tensor) -> Scores:
        """Images (B, 3, S, S), normalised."""
        tokens = self.trunk.forward_features(images)
        side = images.shape[-1] // self.trunk.patch_embed.patch_size[0]
        patches = self.patch_head(tokens[:, self.trunk.num_prefix_tokens :])
        return Scores(self.image_head(tokens[:, 0]), patches.transpose(1, 2).unflatten(2, (side, side)))


def pretraining_loss(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the image plus that of its patches, which teaches a small world of pictures sooner.

    images (B, 3, S, S), normalised; labels (B,); masks (B, S, S), 1 = object. A patch is the object's class
    where more than half of it is covered, background elsewhere. A scalar.
    """
    scores: Scores = network(images)
    cell = images.shape[-1] // scores.patches.shape[-1]
    covered = avg_pool2d(masks[:, None].float(), cell)[:, 0] > 0.5
    of_patches = torch.where(covered, labels[:, None, None] + 1, 0)
    return cross_entropy(scores.image, labels) + cross_entropy(scores.patches, of_patches)
