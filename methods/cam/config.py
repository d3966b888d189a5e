"""Settings of plain CAM, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from datasets.limits import Share
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers.config import COCO, BackboneConfig, CamInferenceConfig, SegmenterConfig, TrainConfig
from methods.layers.nano import NANO_RECIPE
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS


@dataclass(frozen=True)
class ClassifyConfig:
    """What the classifier's training depends on."""

    backbone: BackboneConfig
    train: TrainConfig


@dataclass(frozen=True)
class CamStageConfig:
    """What CAM inference depends on."""

    backbone: BackboneConfig
    inference: CamInferenceConfig


@dataclass(frozen=True)
class CamConfig(MethodConfig):
    """backbone: as the method it is compared with; background_threshold: fixed background score in [0, 1].

    classifier_checkpoint: a classifier of PSA's or IRNet's code in place of the training
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    background_threshold: Share = 0.20
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])
    classifier_checkpoint: str | None = None


NANO_TRAIN = TrainConfig(
    iterations=200,
    batch_size=16,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    head_multiplier=5.0,
    bias_multiplier=1.0,
    warmup=20,
    recipe=NANO_RECIPE,
)
NANO_INFERENCE = CamInferenceConfig(scales=(1.0, 1.5), batch_size=32)
"""Output stride 4 makes the miniature's cells as fine as the papers' largest scales."""
SMALL_TRAIN = TrainConfig(
    iterations=200,
    batch_size=16,
    optimiser="adamw",
    learning_rate=1e-3,
    weight_decay=0.01,
    bias_multiplier=1.0,
    warmup=10,
    recipe=Recipe(crop=224, resize_long=(224, 288), brightness=0.2, contrast=0.2, saturation=0.2),
)
"""Six epochs of 528 pictures; ten fit its labels, and the maps shrink to an object's telling part."""
RESNET38D = BackboneConfig(
    "resnet38d", "resnet38d/ilsvrc-cls_rna-a1_cls1000_ep-0001", 8, frozen_stages=2, freeze_bn=True
)
"""As EPS and PSA train it: first layers and all batch normalisations frozen."""
SMALL_INFERENCE = CamInferenceConfig(scales=(1.0, 1.5), batch_size=4)
"""Larger than the pictures trained on: at stride 16 the finer cells gain more than the change of scale costs."""
PAPER_TRAIN = TrainConfig(
    iterations=20000,
    batch_size=8,
    learning_rate=0.01,
    momentum=5e-4,
    weight_decay=5e-4,
    recipe=Recipe(crop=448, resize_long=(448, 768), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
)
COCO_TRAIN = replace(
    PAPER_TRAIN,
    iterations=256500,
    batch_size=16,
    recipe=replace(PAPER_TRAIN.recipe, crop=321, resize_long=(256, 448)),
)
"""EPS's on COCO, by its code."""

PRESETS = {
    "nano": CamConfig(
        BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4),
        NANO_TRAIN,
        NANO_INFERENCE,
        refiner=RefinerConfig(psa=PSA["nano"], irn=IRN["nano"]),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": CamConfig(
        BackboneConfig("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0", 16),
        SMALL_TRAIN,
        SMALL_INFERENCE,
        refiner=RefinerConfig(psa=PSA["small"], irn=IRN["small"]),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": CamConfig(RESNET38D, PAPER_TRAIN),
    COCO: CamConfig(
        RESNET38D,
        COCO_TRAIN,
        refiner=RefinerConfig(psa=PSA[COCO], irn=IRN[COCO]),
        segmenter=SEGMENTERS[COCO],
    ),
}
