"""ResNet-101 as Caffe's DeepLab V2 has it, and its weight files.

It differs from torchvision's where the published weights (`deeplabv1_resnet101-coco.pth`, -imagenet) were trained
otherwise: a bottleneck strides in its first convolution, not in the 3x3; stages 3 and 4 are dilated throughout by
2 and 4, their first blocks too; pooling rounds up; pictures are 0 to 255 less a mean, and in the files BGR. The
names of those files are deeplab-pytorch's (`layer2.block1.reduce.conv.weight`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from datasets.recipe import Normalisation

if TYPE_CHECKING:
    from torchvision.models import ResNet

NORMALISATION = Normalisation((122.675 / 255, 116.669 / 255, 104.008 / 255), (1 / 255, 1 / 255, 1 / 255))
"""Turns [0, 1] into 0..255 less Caffe's mean."""
HEADS = ["fc.*", "aspp.*"]
"""Names of what stands on the trunk in the files: V1's classifier, V2's ASPP."""

_BRANCHES = {"reduce": "1", "conv3x3": "2", "increase": "3"}
_BLOCK = re.compile(r"layer([2-5])\.block(\d+)\.(reduce|conv3x3|increase|shortcut|proj)\.(conv|bn)\.(\w+)")


def caffe_resnet101() -> ResNet:
    """torchvision's ResNet-101, changed to Caffe's; output stride 8."""
    from torchvision.models import resnet101

    network = resnet101(weights=None, replace_stride_with_dilation=(False, True, True))
    network.maxpool.ceil_mode = True
    first: Any = network.layer2[0]
    first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    for stage, dilation in ((network.layer3, 2), (network.layer4, 4)):
        for block in stage:
            block.conv2.dilation = block.conv2.padding = (dilation, dilation)
    return network


def torchvision_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's tensors under torchvision's names, the first convolution for RGB instead of BGR.

    The prefixes "base." and "scale." of whole DeepLabs are taken off. Names of other networks stay as they are.
    """
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^(base|scale)\.", "", key)
        name = _torchvision_name(key)
        renamed[name] = value.flip(1) if key == "layer1.conv1.conv.weight" else value
    return renamed


def _torchvision_name(key: str) -> str:
    if key.startswith("layer1.conv1."):
        return key.replace("layer1.conv1.conv", "conv1").replace("layer1.conv1.bn", "bn1")
    if (match := _BLOCK.fullmatch(key)) is None:
        return key
    stage, block, branch, kind, parameter = match.groups()
    shortcut = "downsample.0" if kind == "conv" else "downsample.1"
    module = f"{kind}{_BRANCHES[branch]}" if branch in _BRANCHES else shortcut
    return f"layer{int(stage) - 1}.{int(block) - 1}.{module}.{parameter}"
