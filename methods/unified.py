"""What the protocol `unified` fixes before the segmentation network: initial weights, scales of the CAMs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from methods.layers.config import CamInferenceConfig

INFERENCE: Mapping[str, CamInferenceConfig] = {
    "nano": CamInferenceConfig(scales=(1.0, 1.5), batch_size=32),
    "small": CamInferenceConfig(scales=(1.0, 1.5), batch_size=4),
    "paper": CamInferenceConfig(scales=(0.5, 1.0, 1.5, 2.0), batch_size=4),
}
"""Scales of the CAMs, with mirror images. They are those of the convolutional methods, whose CAMs both protocols
then share. Attention is made comparable between them (`methods.mctformer.cam.cam_stages`, `per_patch`)."""

_IMAGENET = {
    "timm/vit_small_patch14_dinov2": "timm/deit_small_patch16_224",
    "timm/vit_base_patch16_224.orig_in21k_ft_in1k": "timm/deit_base_patch16_224",
}
"""Transformers pretrained on other pictures -> the same size of network, trained on ImageNet's 1000 classes alone."""
_PATCH = 16


def from_imagenet(presets: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a transformer method's presets that start from other weights than ImageNet's 1000 classes, started
    from these. Crops become multiples of the patch, and the last LayerNorm is as at paper scale: what DINOv2's
    tokens need is no choice of the method's."""
    found = {}
    for scale, config in presets.items():
        name = _IMAGENET.get(config.vit.weights)
        if name is not None:
            recipe = config.train.recipe
            train = replace(config.train, recipe=replace(recipe, crop=recipe.crop // _PATCH * _PATCH))
            norm = presets["paper"].vit.final_norm
            vit = replace(config.vit, name=name, weights=name, final_norm=norm)
            config = replace(config, vit=vit, train=train)
            found[scale] = _whole_local_crops(config)
    return found


def _whole_local_crops(config: Any) -> Any:
    for part in ("contrast", "class_contrast"):
        size = getattr(getattr(config, part, None), "size", None)
        if size is not None:
            own = replace(getattr(config, part), size=size // _PATCH * _PATCH)
            config = replace(config, **{part: own})
    return config
