"""Released segmentation networks: names of deeplab-pytorch (DeepLab V2) and of MCTformer's ResNet-38d."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from methods.base import MethodError
from methods.layers.config import SMP, SegmenterConfig
from methods.layers.networks import caffe_resnet
from methods.layers.weights.released import RESNET38D, Rule, renamed

_DEEPLAB: tuple[Rule, ...] = (
    (r"aspp\.(?:stages\.)?c(\d)\.(.*)", r"head.branches.\1.\2"),
    (r"(conv1|bn1|layer\d)\..*", r"backbone.trunk.\g<0>"),
)
_RESNET38D: tuple[Rule, ...] = (
    (r"fc8_seg_conv1\.(.*)", r"head.0.\1"),
    (r"fc8_seg_conv2\.(.*)", r"head.2.\1"),
    *RESNET38D,
)


def network_names(state: Mapping[str, torch.Tensor], settings: SegmenterConfig) -> dict[str, torch.Tensor]:
    """A released state under the network's names. MethodError where the settings say another network."""
    if settings.head.startswith(SMP):
        return {
            key if key.startswith("network.") else f"network.{key}": value for key, value in state.items()
        }
    keys = {re.sub(r"^(base|scale)\.", "", key) for key in state}
    if "layer1.conv1.conv.weight" in keys:
        _require(settings, "deeplab-pytorch", "resnet101_caffe", "aspp")
        return renamed(caffe_resnet.torchvision_names(state), _DEEPLAB)
    if "fc8_seg_conv1.weight" in keys:
        _require(settings, "MCTformer's segmentation", "resnet38d", "largefov_resnet38d")
        return renamed(state, _RESNET38D)
    return dict(state)


def _require(settings: SegmenterConfig, of: str, backbone: str, head: str) -> None:
    if (settings.backbone.name, settings.head, settings.head_norm) != (backbone, head, False):
        raise MethodError(
            f"the checkpoint is of {of}, and not of {settings.backbone.name} with head {settings.head}"
            f"{', normalised' if settings.head_norm else ''}; "
            f"set segmenter.backbone.name={backbone} segmenter.head={head} segmenter.head_norm=false"
        )
