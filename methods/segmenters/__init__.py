"""The segmentation stage shared by all methods: pseudo-labels in, a trained network and predictions out."""

from __future__ import annotations

from collections.abc import Mapping

from datasets.recipe import Recipe
from methods.base import Kind, Stage
from methods.layers.config import BackboneConfig, SegmenterConfig, TrainConfig

SEGMENTERS: Mapping[str, SegmenterConfig] = {
    "nano": SegmenterConfig(
        BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4),
        head="largefov",
        head_dilation=2,
        head_norm=True,
        train=TrainConfig(
            iterations=500,
            batch_size=16,
            optimiser="adamw",
            learning_rate=3e-3,
            weight_decay=0.01,
            head_multiplier=1.0,
            bias_multiplier=1.0,
            warmup=20,
            recipe=Recipe(crop=80, scale=(0.9, 1.4), brightness=0.2, contrast=0.3, saturation=0.4, hue=0.5),
        ),
        test_flip=True,
        test_batch_size=32,
    ),
    "small": SegmenterConfig(
        BackboneConfig("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0", 16),
        head="aspp",
        train=TrainConfig(
            iterations=250,
            batch_size=8,
            optimiser="adamw",
            learning_rate=5e-4,
            weight_decay=0.01,
            bias_multiplier=1.0,
            warmup=10,
            recipe=Recipe(crop=224, scale=(0.5, 1.0), brightness=0.2, contrast=0.2, saturation=0.2),
        ),
        test_batch_size=8,
    ),
    "paper": SegmenterConfig(
        BackboneConfig("resnet101", "torchvision/resnet101", 8, freeze_bn=True),
        head="aspp",
        train=TrainConfig(
            iterations=20000,
            batch_size=10,
            learning_rate=2.5e-4,
            momentum=0.9,
            weight_decay=5e-4,
            recipe=Recipe(crop=321, scale=(0.5, 1.5)),
        ),
        test_scales=(0.5, 0.75, 1.0, 1.25, 1.5),
        test_flip=True,
    ),
}
"""The unified protocol's segmentation network by scale (paper: the reference DeepLab V2 recipe)."""


def segmentation_stages(config: SegmenterConfig, labels: str = "pseudo_label") -> list[Stage]:
    """Train on the label maps of stage `labels`, then predict the validation images."""
    segment = Stage(
        "segment",
        "methods.segmenters.stages:segment",
        config,
        Kind.WEIGHTS,
        inputs={"labels": labels},
        pretrained=(config.backbone.weights,),
    )
    return [segment, predict_stage(config)]


def predict_stage(config: SegmenterConfig) -> Stage:
    """Predict the validation images with the weights of stage `segment`."""
    return Stage(
        "predict",
        "methods.segmenters.stages:predict",
        config,
        Kind.PREDICTION,
        inputs={"weights": "segment"},
        splits=("val",),
        seeded=False,
    )
