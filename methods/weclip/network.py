"""WeCLIP's network: a frozen CLIP's image encoder, a fusion of its blocks, and a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from datasets.recipe import Normalisation
from methods.layers.clip.affinity import spread
from methods.layers.clip.model import ClipModel, load_clip, normalisation
from methods.layers.clip.patches import (
    Patches,
    encode_patches,
    require_patches,
    softmax_grad_cam,
    text_directions,
    to_unit,
    whole_patches,
)
from methods.weclip.config import WeclipDecoderConfig, WeclipNetworkConfig
from methods.weclip.labels import weights_of_patches

KEY = "method.weclip.clip"


class Fusion(nn.Module):
    """Patches of several blocks, each through two layers of its own, fused to one map.

    forward: maps (B, D, h, w) -> (B, width, h, w)
    """

    def __init__(self, channels: int, blocks: int, config: WeclipDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
            for _ in range(blocks)
        )
        self.fuse = nn.Conv2d(blocks * width, width, 1)
        self.dropout = nn.Dropout2d(config.dropout)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        each = [layer(part) for layer, part in zip(self.layers, maps, strict=True)]
        return self.dropout(self.fuse(torch.cat(each, 1)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Transformer blocks of CLIP's kind, without positions, and a classifier to C + 1 maps, background first."""

    def __init__(self, outputs: int, config: WeclipDecoderConfig) -> None:
        from open_clip.transformer import QuickGELU, ResidualAttentionBlock

        super().__init__()
        self.blocks = nn.Sequential(
            *(
                ResidualAttentionBlock(config.width, config.heads, act_layer=QuickGELU)
                for _ in range(config.blocks)
            )
        )
        self.classifier = nn.Conv2d(config.width, outputs, 1)

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """(B, width, h, w) -> logits (B, C + 1, h, w)."""
        tokens = self.blocks(fused.flatten(2).transpose(1, 2))
        return self.classifier(tokens.transpose(1, 2).unflatten(2, fused.shape[-2:]))  # type: ignore[no-any-return]


def pair_affinity(fused: torch.Tensor) -> torch.Tensor:
    """Sigmoid of the products of all pairs of a map's cells: (B, D, h, w) -> (B, N, N)."""
    with torch.autocast(fused.device.type, enabled=False):  # products of whole vectors are large
        flat = fused.float().flatten(2)
        return (flat.transpose(1, 2) @ flat).sigmoid()


class Output(NamedTuple):
    """A training step's. logits: (B, C + 1, h, w); affinity: (B, N, N); grid: (h, w)
    maps: (B, C, h, w) in [0, 1], without gradient, zero for absent classes
    """

    logits: torch.Tensor
    affinity: torch.Tensor
    grid: tuple[int, int]
    maps: torch.Tensor


class WeclipNetwork(nn.Module):
    """The image encoder, which does not learn, and what does.

    directions: of the texts, (C + W, D); scale: of the cosines. Both are kept with the weights: inference needs no texts
    iteration:  of the training, kept likewise so that a resumed training goes on from it
    """

    directions: torch.Tensor
    scale: torch.Tensor
    iteration: torch.Tensor

    def __init__(self, clip: ClipModel, classes: int, config: WeclipNetworkConfig) -> None:
        super().__init__()
        self.visual: Any = require_patches(KEY, clip)
        self.config = config
        self._normalisation = normalisation(config.clip)
        words = classes + len(config.texts.common)
        self.register_buffer("directions", torch.zeros(words, self.visual.output_dim))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        blocks = len(self.visual.transformer.resblocks)
        self.fusion = Fusion(self.visual.positional_embedding.shape[1], blocks - 1, config.decoder)
        self.decoder = Decoder(classes + 1, config.decoder)
        self._blocks = blocks

    @classmethod
    def build(cls, config: WeclipNetworkConfig, classes: int, weights: Path | None = None) -> Self:
        """Without the texts' directions, which a trained network has in its file."""
        return cls(load_clip(config.clip, weights), classes, config)

    @classmethod
    def for_training(cls, config: WeclipNetworkConfig, classes: int, weights: Path | None) -> Self:
        clip = load_clip(config.clip, weights)
        network = cls(clip, classes, config)
        network.directions.copy_(text_directions(clip, config.texts))
        network.scale.copy_(clip.model.logit_scale.exp())  # type: ignore[union-attr,operator]
        return network

    @property
    def normalisation(self) -> Normalisation:
        return self._normalisation

    def heads(self) -> list[nn.Module]:
        """What learns."""
        return [self.fusion, self.decoder]

    def train(self, mode: bool = True) -> Self:
        """The encoder stays as it is."""
        super().train(mode)
        self.visual.eval()
        return self

    def encode(self, images: torch.Tensor) -> Patches:
        """Images (B, 3, H, W) of any size, enlarged to whole patches."""
        return encode_patches(self.visual, whole_patches(self.visual, images), self._blocks, outputs=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the decoder for images of any size: (B, C + 1, h, w)."""
        return self.decoder(self.fusion(self.encode(images).outputs))  # type: ignore[no-any-return]

    @torch.no_grad()
    def maps(self, patches: Patches, present: torch.Tensor, affinity: torch.Tensor | None) -> torch.Tensor:
        """Maps (B, C, h, w) in [0, 1] of the present classes (B, C) bool; affinity: that corrects, None: CLIP-ES's."""
        config = self.config
        found = softmax_grad_cam(
            self.visual, patches.tokens, patches.grid, self.directions, self.scale, present
        )
        weights = weights_of_patches(
            [*patches.attention, found.attention],
            affinity,
            config.affinity.blocks,
            config.correction.blocks,
            config.correction.difference == "absolute",
        )
        return to_unit(spread(found.maps, weights, config.affinity))

    def whole_maps(self, images: torch.Tensor, present: torch.Tensor, correct: bool) -> torch.Tensor:
        """`maps` of images of any size."""
        patches = self.encode(images)
        return self.maps(patches, present, pair_affinity(self.fusion(patches.outputs)) if correct else None)


class Learner(nn.Module):
    """A training step in one forward, which distributed training needs.

    start: iteration from which on the decoder's affinity corrects the maps
    """

    def __init__(self, network: WeclipNetwork, start: int) -> None:
        super().__init__()
        self.network = network
        self._start = start

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> Output:
        """images: (B, 3, H, W), sides multiples of the patch; labels: (B, C), 0 or 1, of the whole images."""
        network = self.network
        patches = network.encode(images)
        fused = network.fusion(patches.outputs)
        affinity = pair_affinity(fused)
        corrects = int(network.iteration) >= self._start
        network.iteration += 1
        maps = network.maps(patches, labels > 0, affinity.detach() if corrects else None)
        return Output(network.decoder(fused), affinity, patches.grid, maps)
