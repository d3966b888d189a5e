"""Pretraining of the miniature CLIP with a vision transformer: taught by the convolutional one, whose texts it keeps.

Captions alone teach a transformer little from a few thousand pictures. Its teacher says what the embedding of a
picture is and, from the layers of its own resolution on, what the features of patches are.
"""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss, normalize

from methods.layers.clip.config import NANO_VIT
from methods.layers.clip.nano import restore_clip_nano
from methods.layers.weights.files import SHIPPED, load_state
from methods.miniatures.clip import (
    ClipPretraining,
    caption_target,
    contrastive_loss,
    draw_captions,
    random_view,
)

TEACHER = SHIPPED / "clip.safetensors"
BLOCKS = (2, 5)
"""Blocks (from 0) whose patches learn to say what the teacher's second and third layer do."""
PATCH_WEIGHT, EMBEDDING_WEIGHT = 3.0, 5.0
"""Of the squared distances at the patches, a mean over all patches and channels, and of those between embeddings."""


class TaughtClip(ClipPretraining):
    """The transformer and the teacher, of which only the transformer and the heads at its patches learn."""

    def __init__(self) -> None:
        super().__init__(NANO_VIT)
        texts = {k: v for k, v in load_state(TEACHER).items() if not k.startswith("visual.")}
        texts.pop("token_rows")
        self.model.load_state_dict(texts, strict=False)
        self.model.requires_grad_(False)
        self.model.visual.requires_grad_(True)
        self.teacher = restore_clip_nano(TEACHER)
        widths = [
            layer[-1].conv3.out_channels for layer in (self.teacher.visual.layer2, self.teacher.visual.layer3)
        ]
        self.standard = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for width in widths)
        own = self.model.visual.proj.shape[0]
        self.heads = nn.ModuleList(nn.Conv2d(own, width, 1) for width in widths)

    def train(self, mode: bool = True) -> TaughtClip:
        """The teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def taught(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the teacher says of normalised pictures: unit embeddings (B, 64); features at strides 8 and 16."""
        visual: Any = self.teacher.visual
        second = visual.layer2(visual.layer1(visual.stem(images)))
        third = visual.layer3(second)
        whole = normalize(visual.attnpool(visual.layer4(third)), dim=-1)
        return whole, [norm(each) for norm, each in zip(self.standard, (second, third))]


def pretraining_loss(
    network: TaughtClip, images: torch.Tensor, styles: torch.Tensor, nouns: torch.Tensor, progress: float
) -> torch.Tensor:
    """CLIP's loss on captions, and squared distances to the teacher's embeddings and features. A scalar.

    images (B, 3, S, S) in 0..1; styles (B,); nouns (B, S, S), indices into NOUNS, which views and captions are made
    by, as `methods.miniatures.clip` does; progress in 0..1
    """
    view = random_view(images, nouns, progress)
    captions = draw_captions(Random(int(torch.randint(1 << 31, ()))), view.shares, styles)
    visual: Any = network.model.visual
    mean, std = (view.images.new_tensor(each).view(3, 1, 1) for each in (visual.image_mean, visual.image_std))
    normalised = (view.images - mean) / std
    with torch.no_grad():
        texts = network.encode_text(captions.tokens)
        scale = network.model.logit_scale.exp().clamp(max=100.0)
    whole, features = network.taught(normalised)
    found = visual.forward_intermediates(normalised, indices=list(BLOCKS))
    pictures = normalize(found["image_features"], dim=-1)
    loss = contrastive_loss(scale * pictures @ texts.T, caption_target(view.shares, styles, captions))
    loss = loss + EMBEDDING_WEIGHT * (pictures - whole).square().sum(1).mean()
    for head, patches, feature in zip(network.heads, found["image_intermediates"], features):
        said = adaptive_avg_pool2d(head(patches), feature.shape[-1])
        loss = loss + PATCH_WEIGHT * mse_loss(said, feature)
    return loss
