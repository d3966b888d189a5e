"""IRNet: class boundaries and displacements to the instance's centre from a fixed backbone (Ahn et al., Sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import MethodError
from methods.layers.networks.backbones import Backbone
from methods.layers.networks.levels import Levels
from methods.layers.networks.resnet38d import ResNet38d
from methods.refiners.affinity_labels import affinity_labels
from methods.refiners.irn.paths import pair_displacements, path_affinities, path_offsets
from methods.refiners.pair_losses import EPSILON, pair_mean

EDGE_WIDTH = 32
"""Channels that the boundary branch reduces each level to."""
FINE_WIDTHS = (64, 128)
"""Channels that the displacement branch reduces the levels before the last three to."""
COARSE_WIDTH = 256
"""And each of the last three, what they are joined to, and all of them."""
LEAST_WIDTH = 8
"""Miniatures' branches are narrower, but a group to normalise has so many channels."""


class InterPixelNetwork(nn.Module):
    """Two branches of 1x1 convolutions and group normalisations over four or five levels of a backbone.

    forward: images (B, 3, H, W) -> logits of class boundaries (B, 1, h, w) and displacements (B, 2, h, w) as
             (dy, dx) in cells, at the finest level's stride, rounded up. The backbone stays as it was pretrained.
    stride:  pixels a cell
    displacement_branch: what learns at the head's rate
    mean_displacement: (2,), subtracted except in training; the mean over the training images, where a class's
             instances have displacements whose mean is 0
    """

    mean_displacement: torch.Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self._levels = Levels(_taps(backbone))
        self._rounds_down = False
        self.stride, channels, self._enlarged, self._rounds_down = self._structure()
        divisor = backbone.head_divisor
        edge, coarse = _width(EDGE_WIDTH, divisor), _width(COARSE_WIDTH, divisor)
        fine = [_width(w, divisor) for w in FINE_WIDTHS[-len(channels[:-3]) :]]
        self.edge_levels = nn.ModuleList(_reduction(c, edge) for c in channels)
        self.edge = nn.Conv2d(edge * len(channels), 1, 1)
        self.displacement_levels = nn.ModuleList(
            _reduction(c, width) for c, width in zip(channels, (*fine, coarse, coarse, coarse))
        )
        self.displacement_coarse = _reduction(3 * coarse, coarse)
        self.displacement = nn.Sequential(
            _reduction(sum(fine) + coarse, coarse), nn.ReLU(), nn.Conv2d(coarse, 2, 1, bias=False)
        )
        self.register_buffer("mean_displacement", torch.zeros(2))
        self.train()

    @property
    def displacement_branch(self) -> Sequence[nn.Module]:
        return (self.displacement_levels, self.displacement_coarse, self.displacement)

    def train(self, mode: bool = True) -> InterPixelNetwork:
        """As nn.Module's, but the backbone keeps its statistics and drops nothing."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self._pyramid(images)
        displacements = self._displacements(levels)
        if not self.training:
            displacements = displacements - self.mean_displacement[:, None, None]
        return self._edges(levels), displacements

    def boundaries(self, images: torch.Tensor) -> torch.Tensor:
        """Class boundaries (B, 1, h, w) in [0, 1], by the mean logit of the images and their mirror images."""
        straight = self._edges(self._pyramid(images))
        mirrored = self._edges(self._pyramid(images.flip(-1)))
        return ((straight + mirrored.flip(-1)) / 2).sigmoid()

    def _edges(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        joined = [
            _fitted(reduce(level), factor, levels[0]).relu()
            for reduce, level, factor in zip(self.edge_levels, levels, self._enlarged)
        ]
        return self.edge(torch.cat(joined, 1))  # type: ignore[no-any-return]

    def _displacements(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The last three levels meet at the first of them's resolution, and then the finer ones."""
        reduced = [reduce(level) for reduce, level in zip(self.displacement_levels, levels)]
        factors = self._enlarged[-3:]
        joined = [
            _fitted(level, factor // factors[0], levels[-3]).relu()
            for level, factor in zip(reduced[-3:], factors)
        ]
        coarse = self.displacement_coarse(torch.cat(joined, 1))
        all_levels = zip([*reduced[:-3], coarse], [*self._enlarged[:-3], factors[0]])
        fine = [_fitted(level, factor, levels[0]).relu() for level, factor in all_levels]
        return self.displacement(torch.cat(fine, 1))  # type: ignore[no-any-return]

    @torch.no_grad()
    def _pyramid(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The backbone's levels, shallow to deep, of H / stride x W / stride cells, rounded up.

        Backbones that round down would leave out what is no whole cell of their last level, and so have levels
        that do not match, or no cell of a small image. To these the image goes with its border repeated.
        """
        height, width = images.shape[-2:]
        if self._rounds_down:
            side = self.backbone.output_stride
            images = F.pad(images, (0, -width % side, 0, -height % side), mode="replicate")
        levels = self._levels.of(self.backbone, images)
        if self._rounds_down:
            strides = [self.stride * factor for factor in self._enlarged]
            levels = [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(levels, strides)]
        return levels

    def _structure(self) -> tuple[int, list[int], list[int], bool]:
        """Stride of the finest level; of each level, channels and cells of the finest level along one of it; whether
        the backbone rounds down, and so has fewer cells for a pixel less than whole ones.

        Raises MethodError where levels do not nest.
        """
        self.backbone.eval()
        device = next(self.backbone.parameters()).device
        side = 2 * self.backbone.output_stride
        whole, less = (self._pyramid(torch.zeros(1, 3, s, s, device=device)) for s in (side, side - 1))
        sides = [level.shape[-1] for level in whole]
        if any(side % sides[0] or sides[0] % s for s in sides):
            raise _refusal(self.backbone)
        enlarged = [sides[0] // s for s in sides]
        rounds_down = [level.shape[-1] for level in less] != sides
        return side // sides[0], [level.shape[1] for level in whole], enlarged, rounds_down


def _taps(backbone: Backbone) -> list[tuple[nn.Module, bool]]:
    """Where the three or four levels before the last are found: (module, whether its input instead of output)."""
    trunk: Any = backbone.trunk
    if isinstance(backbone.trunk, ResNet38d):  # normalised and rectified, from the level of stride 4 on
        return [(block.conv_branch2a, True) for block in (trunk.b4, trunk.b5, trunk.b6, trunk.b7)]
    if hasattr(trunk, "layer4") and hasattr(trunk, "maxpool"):
        return [(trunk.maxpool, False), *((m, False) for m in (trunk.layer1, trunk.layer2, trunk.layer3))]
    if hasattr(trunk, "feature_info") and len(trunk.feature_info) > 3:
        modules = dict(trunk.named_modules())
        stages = [modules.get(stage["module"]) for stage in trunk.feature_info[-4:-1]]
        found = [(stage, False) for stage in stages if stage is not None]
        if len(found) == len(stages):
            return found
    if isinstance(getattr(trunk, "features", None), nn.Sequential):  # VGG16
        pools = [m for m in trunk.features if isinstance(m, nn.MaxPool2d)]
        return [(pool, False) for pool in pools[1:4]]
    raise _refusal(backbone)


def _refusal(backbone: Backbone) -> MethodError:
    return MethodError(
        f"refiner irn finds no four levels in {type(backbone.trunk).__name__} whose cells are whole ones of the level "
        "before; choose resnet38d, vgg16, resnet50, resnet101 or a convolutional timm network such as "
        "timm/tf_efficientnet_lite0 as refiner.irn.backbone.name"
    )


def _width(published: int, divisor: int) -> int:
    return max(LEAST_WIDTH, published // divisor)


def _reduction(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 convolution and group normalisation: groups of 8 channels as far as there are no more than 16 groups."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(min(16, outputs // LEAST_WIDTH), outputs)
    )


def _fitted(maps: torch.Tensor, factor: int, reference: torch.Tensor) -> torch.Tensor:
    """Maps enlarged by a whole factor, less what lies beyond the reference's size."""
    if factor > 1:
        maps = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    return maps[..., : reference.shape[-2], : reference.shape[-1]]


def inter_pixel_losses(
    edges: torch.Tensor, displacements: torch.Tensor, labels: torch.Tensor, stride: int, radius: int
) -> dict[str, torch.Tensor]:
    """(background / 2 + foreground / 2 + negative) / 2 of the affinities, + (foreground + background) / 2 of the
    displacements (Sec. 4).

    Affinities are taught by cross-entropy. The displacements of two foreground cells of a class differ by the
    offset between them, those of two background cells not at all; both by the mean absolute error.

    edges: (B, 1, h, w) in (0, 1); displacements: (B, 2, h, w) as (dy, dx); labels: (B, h * stride, w * stride),
    0 background, 255 ignored, of which each cell has that of its first pixel, where its features are centred
    """
    offsets = path_offsets(radius)
    pairs = affinity_labels(labels[:, ::stride, ::stride].to(torch.uint8), offsets)
    affinities = path_affinities(edges, radius)
    alike, unlike = -torch.log(affinities + EPSILON), -torch.log(1 + EPSILON - affinities)
    differences = pair_displacements(displacements, radius)
    target = torch.tensor(offsets, dtype=differences.dtype, device=differences.device).T[..., None, None]
    return {
        "affinity_background": pair_mean(alike, pairs.background_positive) / 4,
        "affinity_foreground": pair_mean(alike, pairs.foreground_positive) / 4,
        "affinity_negative": pair_mean(unlike, pairs.negative) / 2,
        "displacement_foreground": pair_mean((differences - target).abs(), pairs.foreground_positive) / 2,
        "displacement_background": pair_mean(differences.abs(), pairs.background_positive) / 2,
    }


def smallest_crop(stride: int, radius: int) -> int:
    """Pixels of the smallest square that has a pair of every offset."""
    return stride * (2 * (radius - 1) + 1)
