"""DeepLab segmentation networks: LargeFOV (V1, arXiv:1412.7062) and ASPP (V2, arXiv:1606.00915) heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from datasets.recipe import Normalisation
from methods.base import MethodError
from methods.layers.config import HEADS, SMP, SegmenterConfig
from methods.layers.networks.backbones import Backbone, build_backbone
from methods.layers.networks.smp import SmpNetwork, build_smp
from methods.layers.weights.files import load_state

ASPP_RATES = (6, 12, 18, 24)


class LargeFOV(nn.Sequential):
    """V1's head: a 3x3 convolution of dilation 12, a 1x1, the classifier; `width` 1024 as published.

    norm: batch normalisation in place of dropout, for miniatures
    """

    def __init__(
        self, channels: int, outputs: int, width: int, dilation: int = 12, norm: bool = False
    ) -> None:
        def after() -> list[nn.Module]:
            return [nn.BatchNorm2d(width), nn.ReLU()] if norm else [nn.ReLU(), nn.Dropout(0.5)]

        super().__init__(
            nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation),
            *after(),
            nn.Conv2d(width, width, 1),
            *after(),
            nn.Conv2d(width, outputs, 1),
        )

    def start_from_vgg16(self, state: Mapping[str, torch.Tensor]) -> None:
        """Start both hidden layers from VGG16's fc6 and fc7, thinned out to 1024 filters of 3x3.

        state: torchvision's, with its `classifier`. Kept are every fourth filter, and every third row and column of
        fc6's 7x7.
        """
        fc6 = state["classifier.0.weight"].unflatten(1, (512, 7, 7))[::4, :, ::3, ::3]
        fc7 = state["classifier.3.weight"][::4, ::4, None, None]
        for layer, weight, bias in ((0, fc6, "classifier.0.bias"), (3, fc7, "classifier.3.bias")):
            self[layer].load_state_dict({"weight": weight, "bias": state[bias][::4]})


class LargeFOVResNet38d(nn.Sequential):
    """V1's head on ResNet-38d: two 3x3 convolutions of dilation 12 (MCTformer: 4096 -> 512 -> classes).

    As in MCTformer's code, weights start Xavier-uniform and biases as PyTorch has them.
    """

    def __init__(self, channels: int, outputs: int, width: int, dilation: int = 12) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, outputs, 3, padding=dilation, dilation=dilation),
        )
        for convolution in (self[0], self[2]):
            nn.init.xavier_uniform_(convolution.weight)  # type: ignore[arg-type]


class NormalisedLargeFOVResNet38d(nn.Sequential):
    """V1's head on ResNet-38d in SEAM's code: a 3x3 convolution of dilation 12, a 1x1, the classifier; normalised.

    As there, weights start He-normal by their outputs.
    """

    def __init__(self, channels: int, outputs: int, width: int, dilation: int = 12) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Conv2d(width, outputs, 1),
        )
        for module in self:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ASPP(nn.Module):
    """V2's head: 3x3 convolutions of dilation 6, 12, 18 and 24 side by side, summed."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, outputs, 3, padding=rate, dilation=rate) for rate in ASPP_RATES
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.stack([branch(features) for branch in self.branches]).sum(0)


class DeepLab(nn.Module):
    """Backbone and head: images (B, 3, H, W) -> logits (B, classes + 1, h, w), background first.

    The settings' head is built for the backbone; the modules `new_layers` learn at the head's rate.
    """

    def __init__(self, backbone: Backbone, config: SegmenterConfig, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        channels, outputs, divisor = backbone.channels, classes + 1, backbone.head_divisor
        dilation = config.head_dilation
        if config.head == "largefov":
            self.head: nn.Module = LargeFOV(channels, outputs, 1024 // divisor, dilation, config.head_norm)
        elif config.head == "largefov_single":
            self.head = nn.Sequential(nn.Conv2d(channels, outputs, 3, padding=dilation, dilation=dilation))
        elif config.head == "largefov_resnet38d":
            build = NormalisedLargeFOVResNet38d if config.head_norm else LargeFOVResNet38d
            self.head = build(channels, outputs, 512 // divisor, dilation)
        elif config.head == "aspp":
            self.head = ASPP(channels, outputs)
        else:
            raise MethodError(f"unknown head {config.head!r}; choose {', '.join(HEADS)}")
        # Normalised layers keep their default initialisation, and ResNet-38d's head its own.
        if not config.head_norm and config.head != "largefov_resnet38d":
            for module in self.head.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, std=0.01)
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]

        self.new_layers: list[nn.Module] = [self.head]

    @property
    def normalisation(self) -> Normalisation:
        return self.backbone.normalisation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))  # type: ignore[no-any-return]


def build_segmenter(
    config: SegmenterConfig, classes: int, weights_path: Path | None = None
) -> DeepLab | SmpNetwork:
    """Segmentation network of a configuration; the backbone starts from `weights_path`, and so does V1's head on VGG16.

    Raises MethodError where that head's layers are not in the file, and where `build_smp` does.
    """
    if config.head.startswith(SMP):
        return build_smp(config, classes, weights_path)
    network = DeepLab(build_backbone(config.backbone, weights_path), config, classes)
    if weights_path is not None and (config.backbone.name, config.head) == ("vgg16", "largefov"):
        assert isinstance(network.head, LargeFOV)
        state = load_state(weights_path)
        if "classifier.0.weight" not in state:
            raise MethodError(
                f"{weights_path} has no classifier.*, from which DeepLab V1 on VGG16 starts; "
                "set segmenter.backbone.weights=torchvision/vgg16"
            )
        network.head.start_from_vgg16(state)
        network.new_layers = [network.head[-1]]
    return network
