"""Settings of EPS, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import OneOf, Share
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.cam.config import COCO_TRAIN, NANO_INFERENCE, NANO_TRAIN, RESNET38D, SMALL_INFERENCE, SMALL_TRAIN
from methods.layers.config import (
    COCO,
    BackboneConfig,
    CamInferenceConfig,
    CrfConfig,
    SegmenterConfig,
    TrainConfig,
)
from methods.layers.saliency.config import SaliencyConfig
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS

MAP_SELECTIONS = ("naive", "predefined", "adaptive")


@dataclass(frozen=True)
class JointTrainingConfig:
    """What the joint training depends on; see `EpsConfig`."""

    backbone: BackboneConfig
    train: TrainConfig
    saliency: SaliencyConfig
    foreground_weight: float
    overlap_threshold: float
    map_selection: str
    predefined_background: tuple[str, ...]


@dataclass(frozen=True)
class EpsConfig(MethodConfig):
    """EPS (Lee et al., CVPR 2021).

    foreground_weight:     λ of Eq. 1, in [0, 1]
    overlap_threshold:     τ of Eq. 2, in [0, 1]
    map_selection:         naive, predefined or adaptive (Tab. 3)
    predefined_background: class names that `predefined` gives to the background
    background_threshold:  constant background score of the pseudo-labels, in [0, 1]
    classifier_checkpoint: a network of EPS's code in place of the joint training, which then needs no saliency
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    saliency: SaliencyConfig = field(default_factory=SaliencyConfig)
    foreground_weight: Share = 0.5
    overlap_threshold: Share = 0.4
    map_selection: Annotated[str, OneOf(MAP_SELECTIONS)] = "adaptive"
    predefined_background: tuple[str, ...] = ("sofa", "chair", "diningtable")
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    background_threshold: Share = 0.20
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    classifier_checkpoint: str | None = None

    def joint_training(self, saliency: SaliencyConfig) -> JointTrainingConfig:
        """The part that the joint training depends on, with `saliency` resolved."""
        return JointTrainingConfig(
            self.backbone,
            self.train,
            saliency,
            self.foreground_weight,
            self.overlap_threshold,
            self.map_selection,
            self.predefined_background,
        )


PRESETS = {
    "nano": EpsConfig(
        BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4),
        NANO_TRAIN,
        SaliencyConfig(source="nano"),
        inference=NANO_INFERENCE,
        refiner=RefinerConfig(psa=PSA["nano"], irn=IRN["nano"]),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": EpsConfig(
        BackboneConfig("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0", 16),
        SMALL_TRAIN,
        SaliencyConfig(source="rembg"),
        inference=SMALL_INFERENCE,
        refiner=RefinerConfig(psa=PSA["small"], irn=IRN["small"]),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": EpsConfig(
        RESNET38D,
        TrainConfig(
            iterations=20000,
            batch_size=8,
            learning_rate=0.01,
            momentum=5e-4,
            weight_decay=5e-4,
            head_multiplier=10.0,
            bias_multiplier=2.0,
            recipe=Recipe(
                crop=448, resize_long=(448, 768), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1
            ),
        ),
        SaliencyConfig(source="folder"),
        segmenter=replace(
            SEGMENTERS["paper"],
            head="largefov",
            test_crf=CrfConfig(10, 1.0, 3.0, 67.0, 3.0, 4.0),
        ),
    ),
}
PRESETS[COCO] = replace(
    PRESETS["paper"],
    train=COCO_TRAIN,
    foreground_weight=0.9,
    refiner=RefinerConfig(psa=PSA[COCO], irn=IRN[COCO]),
    segmenter=replace(
        SEGMENTERS[COCO],
        backbone=BackboneConfig("vgg16", "torchvision/vgg16", 8),
        test_crf=PRESETS["paper"].segmenter.test_crf,
    ),
)
"""As the reference code trains on COCO; the paper's number there is of DeepLab V2 on VGG16."""
