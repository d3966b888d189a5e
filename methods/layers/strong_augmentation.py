"""Strong changes of colour: RandAugment (Cubuk et al., 2020) without geometry, in batches on the device."""

from __future__ import annotations

from functools import partial

import torch
from torchvision.transforms.v2 import functional


@torch.no_grad()
def strong_colours(images: torch.Tensor, operations: int, factor: float, bits: int) -> torch.Tensor:
    """Images (B, 3, H, W) in [0, 1] after `operations` steps, each drawn anew for every image: the same in [0, 1].

    A step is one of seven, all equally likely: autocontrast, equalisation, fewer `bits` a channel, or saturation,
    contrast, brightness or sharpness times `factor`. As in Pillow, whose arithmetic torchvision's is, values are bytes
    between the steps. They are drawn from torch's random numbers on the CPU, so that no step waits for the device.
    """
    steps = (
        functional.autocontrast,
        functional.equalize,
        partial(functional.posterize, bits=bits),
        partial(functional.adjust_saturation, saturation_factor=factor),
        partial(functional.adjust_contrast, contrast_factor=factor),
        partial(functional.adjust_brightness, brightness_factor=factor),
        partial(functional.adjust_sharpness, sharpness_factor=factor),
    )
    pixels = (images.float().clamp(0, 1) * 255).round().to(torch.uint8)
    for drawn in torch.randint(len(steps), (operations, len(images)), device="cpu"):
        for number in drawn.unique().tolist():
            chosen = (drawn == number).nonzero()[:, 0].to(images.device)
            pixels[chosen] = steps[number](pixels[chosen])
    return pixels.float() / 255
