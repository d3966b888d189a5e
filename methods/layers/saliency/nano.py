"""The miniature class-agnostic saliency detector of the nano scale: a U-Net of 0.2 M parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.recipe import IMAGENET

NORMALISATION = IMAGENET
"""Of the images that `SaliencyNet` is trained on and applied to."""


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class DecoderBlock(nn.Module):
    """Upsample to the encoder's feature of that level, concatenate, convolve."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs + skip, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (B, inputs, h, w) and skip (B, skip, H, W) -> (B, outputs, H, W)"""
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.conv(torch.cat([x, skip], dim=1))


class SaliencyNet(nn.Module):
    """U-Net over strides 2, 4, 8, 16 with the image's mean feature added at its bottom, since what stands out
    depends on the whole picture. 0.2 M parameters, 58 M multiply-adds at 96x96.
    """

    def __init__(self) -> None:
        super().__init__()
        self.level1 = nn.Sequential(ConvBlock(3, 16, stride=2), ConvBlock(16, 16))
        self.level2 = nn.Sequential(ConvBlock(16, 32, stride=2), ConvBlock(32, 32))
        self.level3 = nn.Sequential(ConvBlock(32, 48, stride=2), ConvBlock(48, 48))
        self.level4 = nn.Sequential(ConvBlock(48, 64, stride=2), ConvBlock(64, 64, dilation=2))
        self.scene = nn.Conv2d(64, 64, 1)
        self.up3 = DecoderBlock(64, 48, 48)
        self.up2 = DecoderBlock(48, 32, 32)
        self.up1 = DecoderBlock(32, 16, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), normalised, of any size -> logits of saliency (B, 1, H, W)"""
        level1 = self.level1(images)
        level2 = self.level2(level1)
        level3 = self.level3(level2)
        bottom = self.level4(level3)
        bottom = bottom + self.scene(bottom.mean((2, 3), keepdim=True))
        x = self.up1(self.up2(self.up3(bottom, level3), level2), level1)
        return F.interpolate(self.head(x), size=images.shape[-2:], mode="bilinear", align_corners=False)


def pretraining_loss(network: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy plus soft IoU loss (per image, averaged); a scalar.

    images: (B, 3, H, W), normalised
    masks:  (B, H, W) or (B, 1, H, W), in [0, 1] or boolean; 1 = salient
    """
    logits = network(images).flatten(1)
    target = masks.flatten(1).to(logits.dtype)
    probability = logits.sigmoid()
    intersection = (probability * target).sum(1)
    union = (probability + target).sum(1) - intersection
    # + 1: an image without anything salient has IoU 1 where nothing is found
    iou = (intersection + 1) / (union + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + (1 - iou).mean()
