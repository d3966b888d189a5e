"""Dilated depthwise convolutions, faster on CPU.

PyTorch's CPU kernels have no fast backward for them: at output stride 16 that alone is most of EfficientNet's
step. A convolution of dilation d is d x d ordinary ones, each over every d-th row and column, so the picture is
cut into those and convolved as one larger batch. Same parameters, same sums.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class DilatedDepthwise(nn.Conv2d):
    """A depthwise convolution of stride 1 whose output has its input's size; see `faster_on_cpu`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)"""
        if x.device.type != "cpu":
            return super().forward(x)
        (batch, channels, height, width), d = x.shape, self.dilation[0]
        x = F.pad(x, (0, -width % d, 0, -height % d))
        rows, columns = x.shape[2] // d, x.shape[3] // d
        cut = x.view(batch, channels, rows, d, columns, d).permute(0, 3, 5, 1, 2, 4)
        cut = cut.reshape(batch * d * d, channels, rows, columns)
        padding = (self.kernel_size[0] // 2, self.kernel_size[1] // 2)
        y = F.conv2d(cut, self.weight, self.bias, padding=padding, groups=self.groups)
        y = y.view(batch, d, d, channels, rows, columns).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(batch, channels, rows * d, columns * d)[:, :, :height, :width]


def faster_on_cpu(network: nn.Module) -> None:
    """Replace, in place, the dilated depthwise convolutions of a network that keep its resolution."""
    for parent in list(network.modules()):
        for name, conv in list(parent.named_children()):
            if type(conv) is nn.Conv2d and _fits(conv):
                faster = DilatedDepthwise(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size,  # type: ignore[arg-type]
                    padding=conv.padding,  # type: ignore[arg-type]
                    dilation=conv.dilation,  # type: ignore[arg-type]
                    groups=conv.groups,
                    bias=conv.bias is not None,
                )
                faster.weight, faster.bias = conv.weight, conv.bias
                setattr(parent, name, faster)


def _fits(conv: nn.Conv2d) -> bool:
    d = conv.dilation[0]
    kept = all(2 * p == d * (k - 1) for p, k in zip(conv.padding, conv.kernel_size) if isinstance(p, int))
    square = conv.dilation == (d, d) and conv.stride == (1, 1) and conv.padding_mode == "zeros"
    depthwise = conv.groups == conv.in_channels == conv.out_channels
    return d > 1 and square and depthwise and kept and not isinstance(conv.padding, str)
