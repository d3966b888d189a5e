"""Segmentation networks that any method can be given, by name: what a grid is made of. No stage reaches this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from methods.layers.config import SegmenterConfig
from methods.layers.presets import COCO, RESNET38D, VGG16
from methods.segmenters import SEGMENTERS

_NANO, _SMALL = SEGMENTERS["nano"], SEGMENTERS["small"]


def _papers(shared: SegmenterConfig) -> dict[str, SegmenterConfig]:
    return {
        "aspp": shared,
        "largefov": replace(shared, head="largefov"),
        "aspp-vgg16": replace(shared, backbone=VGG16),
        "largefov-vgg16": replace(shared, backbone=VGG16, head="largefov"),
        "largefov-resnet38d": replace(shared, backbone=RESNET38D, head="largefov_resnet38d"),
    }


NETWORKS: Mapping[str, Mapping[str, SegmenterConfig]] = {
    "nano": {"largefov": _NANO, "aspp": replace(_NANO, head="aspp", head_norm=False)},
    "small": {"aspp": _SMALL, "largefov": replace(_SMALL, head="largefov", head_dilation=6, head_norm=True)},
    "paper": _papers(SEGMENTERS["paper"]),
    COCO: _papers(SEGMENTERS[COCO]),
}
"""By scale: DeepLab V1 (largefov) and V2 (aspp) on the scale's backbone, and at paper scale on the papers' others.
All learn by the recipe of the scale's shared network."""


def network_name(config: SegmenterConfig, scale: str) -> str:
    """What records call a segmentation network: its name in `NETWORKS`, or its head where it is none of them."""
    for name, network in NETWORKS[scale].items():
        if (network.head, network.backbone.name) == (config.head, config.backbone.name):
            return name
    return config.head
