"""Segmentation networks that any method can be given, by name: what a grid is made of. No stage reaches this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from methods.base import MethodError
from methods.layers.config import SMP, BackboneConfig, SegmenterConfig
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


SMP_NAME = f"{SMP}<architecture>:<encoder>"
"""How networks of segmentation_models_pytorch are named; ":imagenet" after it for an encoder's pretrained weights."""
IMAGENET = "imagenet"


def smp_network(name: str, shared: SegmenterConfig) -> SegmenterConfig:
    """A network of segmentation_models_pytorch by its `SMP_NAME`, which learns by the recipe of the scale's shared one.

    Raises MethodError where the library has no such network; it is imported for that.
    """
    architecture, *rest = name.removeprefix(SMP).split(":")
    encoder, *weights = rest or [""]
    if not encoder or weights not in ([], [IMAGENET]):
        raise MethodError(
            f"segmentation network {name!r}: write {SMP_NAME}, such as {SMP}segformer:mit_b0, and :{IMAGENET} "
            "after it for an encoder with weights of ImageNet"
        )
    from methods.layers.networks.smp import check_names

    check_names(architecture, encoder)
    reference = f"{SMP}{encoder}"
    backbone = BackboneConfig(reference, reference if weights else "none", 32)
    return replace(
        shared, backbone=backbone, head=f"{SMP}{architecture}", init=IMAGENET if weights else "none"
    )


def network_name(config: SegmenterConfig, scale: str) -> str:
    """What records call a segmentation network: its name in `NETWORKS`, or its head where it is none of them."""
    if config.head.startswith(SMP):
        weights = f":{IMAGENET}" if config.backbone.weights == config.backbone.name else ""
        return f"{config.head}:{config.backbone.name.removeprefix(SMP)}{weights}"
    for name, network in NETWORKS[scale].items():
        if (network.head, network.backbone.name) == (config.head, config.backbone.name):
            return name
    return config.head
