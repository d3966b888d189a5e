"""Pretraining of the miniature vision transformer: image classification, taught by the miniature ResNet-38d.

A transformer learns little from a few thousand pictures on its own; DeiT, whose part it plays, is taught by a
convolutional network too (Touvron et al., ICML 2021). Here the teacher's features are what patches learn to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, mse_loss

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

    from methods.layers.networks.backbones import Backbone


PATCH_WEIGHT = 30.0
"""Of the distances at the patches. They are a mean over all patches and channels, small beside the class's
cross-entropy; with weight 1 the transformer learns nothing for a thousand iterations (3.5 % of 48 classes correct,
with 30 it is 30 %)."""


class Answers(NamedTuple):
    """image: (B, K) scores of the classes; summary: (B, D) and patches: (B, D, h, w), the teacher's features."""

    image: torch.Tensor
    summary: torch.Tensor
    patches: torch.Tensor


class TaughtViT(nn.Module):
    """A timm transformer: its class token answers with the class and the teacher's mean feature, its patches
    with the teacher's features there, each standardised over the batch. The teacher does not learn."""

    def __init__(self, trunk: VisionTransformer, classes: int, teacher: Backbone) -> None:
        super().__init__()
        self.trunk = trunk
        self.teacher = teacher.requires_grad_(False)
        self.standard = nn.BatchNorm2d(teacher.channels, affine=False)
        self.image_head = nn.Linear(trunk.embed_dim, classes)
        self.summary_head = nn.Linear(trunk.embed_dim, teacher.channels)
        self.patch_head = nn.Linear(trunk.embed_dim, teacher.channels)

    def forward(self, images: torch.Tensor) -> Answers:
        """Images (B, 3, S, S), normalised."""
        tokens = self.trunk.forward_features(images)
        side = images.shape[-1] // self.trunk.patch_embed.patch_size[0]
        patches = self.patch_head(tokens[:, self.trunk.num_prefix_tokens :])
        summary = self.summary_head(tokens[:, 0])
        return Answers(
            self.image_head(tokens[:, 0]), summary, patches.transpose(1, 2).unflatten(2, (side, side))
        )

    @torch.no_grad()
    def taught(self, images: torch.Tensor, side: int) -> torch.Tensor:
        """What the teacher says of the patches: (B, D, side, side)."""
        return self.standard(adaptive_avg_pool2d(self.teacher(images), side))  # type: ignore[no-any-return]


def pretraining_loss(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the class plus squared distances to the teacher's features; no masks. A scalar.

    images (B, 3, S, S), normalised; labels (B,)
    """
    assert isinstance(network, TaughtViT)
    answers: Answers = network(images)
    taught = network.taught(images, answers.patches.shape[-1])
    return (
        cross_entropy(answers.image, labels)
        + PATCH_WEIGHT * mse_loss(answers.patches, taught)
        + mse_loss(answers.summary, taught.mean((2, 3)))
    )
