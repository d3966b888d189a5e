"""ResNet-38d: the wide residual network A1 of Wu, Shen and van den Hengel (arXiv:1611.10080) with dilation.

The trunk of PSA, SEAM and EPS; output stride 8. Names of layers follow the weight files in circulation
(`res38_cls.pth`), so their state dictionaries load as they are; ImageNet's is MXNet's (`mxnet_params`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
"""Channels of the stem and of the stages b2 to b7."""
STAGE_DEPTHS = (3, 3, 6, 3)
"""Residual blocks in stages b2 to b5; stages b6 and b7 are one bottleneck each."""
STRIDES = (1, 2, 2, 2)
"""Strides of the stem and of the stages b2 to b4; the later stages are dilated instead."""


class ResBlock(nn.Module):
    """Pre-activated residual block of two 3x3 convolutions; (N, C, H, W) -> (N, outputs, H / stride, ...)."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, *, stride: int = 1, dilations: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        first, second = dilations
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = nn.Conv2d(inputs, middle, 3, stride, padding=first, dilation=first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = nn.Conv2d(middle, outputs, 3, padding=second, dilation=second, bias=False)
        self.conv_branch1 = (
            None if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = F.relu(self.bn_branch2a(x))
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(activated)
        y = self.conv_branch2a(activated)
        y = self.conv_branch2b1(F.relu(self.bn_branch2b1(y)))
        return shortcut + y


class Bottleneck(nn.Module):
    """Pre-activated bottleneck (1x1, dilated 3x3, 1x1) with a projected shortcut; keeps the resolution."""

    def __init__(self, inputs: int, outputs: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        quarter, half = outputs // 4, outputs // 2
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = nn.Conv2d(inputs, quarter, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.conv_branch2b1 = nn.Conv2d(quarter, half, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.conv_branch2b2 = nn.Conv2d(half, outputs, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = F.relu(self.bn_branch2a(x))
        y = self.conv_branch2a(activated)
        y = self.conv_branch2b1(self.dropout(F.relu(self.bn_branch2b1(y))))
        y = self.conv_branch2b2(self.dropout(F.relu(self.bn_branch2b2(y))))
        return self.conv_branch1(activated) + y


class ResNet38d(nn.Module):
    """The trunk: images (N, 3, H, W) -> features (N, channels, ceil(H / s), ceil(W / s)), not negative.

    The defaults are the published network (s = 8); other values make miniatures of the same structure.
    widths:  channels of the stem and of b2 to b7; those of b6 and b7 are multiples of 4
    depths:  residual blocks in stages b2, b3, b4, b5
    strides: of the stem, b2, b3 and b4; s is their product
    dropout: probabilities of dropping a channel in b6 and b7
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = STAGE_DEPTHS,
        strides: Sequence[int] = STRIDES,
        dropout: Sequence[float] = (0.3, 0.5),
    ) -> None:
        super().__init__()
        stem, w2, w3, w4, w5, w6, self.channels = widths
        self.output_stride = math.prod(strides)
        self.conv1a = nn.Conv2d(3, stem, 3, strides[0], padding=1, bias=False)
        self._stages: list[list[str]] = [["conv1a"]]
        self._add_stage("b2", stem, w2, w2, depths[0], stride=strides[1])
        self._add_stage("b3", w2, w3, w3, depths[1], stride=strides[2])
        self._add_stage("b4", w3, w4, w4, depths[2], stride=strides[3])
        # Only the first convolution of b5 still sees neighbours at the undilated distance.
        self._add_stage("b5", w4, w4, w5, depths[3], dilation=2)
        self.b6 = Bottleneck(w5, w6, dilation=4, dropout=dropout[0])
        self.b7 = Bottleneck(w6, self.channels, dilation=4, dropout=dropout[1])
        self.bn7 = nn.BatchNorm2d(self.channels)
        self._stages += [["b6"], ["b7", "bn7"]]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def _add_stage(
        self,
        name: str,
        inputs: int,
        middle: int,
        outputs: int,
        depth: int,
        *,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        names = [name, *(f"{name}_{i}" for i in range(1, depth))]
        for i, block_name in enumerate(names):
            block = ResBlock(
                inputs if i == 0 else outputs,
                middle,
                outputs,
                stride=stride if i == 0 else 1,
                dilations=(1 if i == 0 else dilation, dilation),
            )
            self.add_module(block_name, block)
        self._stages.append(names)

    def stages(self) -> list[list[nn.Module]]:
        """Modules by depth, for freezing the first ones: conv1a; b2; b3; b4; b5; b6; b7 with bn7."""
        return [[self.get_submodule(name) for name in names] for names in self._stages]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages():
            for module in stage:
                x = module(x)
        return F.relu(x)
