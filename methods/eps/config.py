"""Settings of EPS, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import OneOf, Share
from methods.base import MethodConfig
from methods.cam.config import CamTrainingConfig
from methods.layers.config import (
    BackboneConfig,
    CamInferenceConfig,
    SegmenterConfig,
    TrainConfig,
)
from methods.layers.presets import (
    COCO,
    COCO_TRAIN,
    DEEPLAB_CRF,
    NANO_BACKBONE,
    NANO_INFERENCE,
    NANO_TRAIN,
    PAPER_TRAIN,
    RESNET38D,
    SMALL_BACKBONE,
    SMALL_INFERENCE,
    SMALL_TRAIN,
    VGG16,
)
from methods.layers.saliency.config import SaliencyConfig
from methods.refiners import refiner_at
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS

MAP_SELECTIONS = ("naive", "predefined", "adaptive")


@dataclass(frozen=True)
class JointTrainingConfig(CamTrainingConfig):
    """What the joint training depends on; see `EpsConfig`. predefined_background: indices, () if they are not used"""

    saliency: SaliencyConfig
    foreground_weight: float
    overlap_threshold: float
    map_selection: str
    predefined_background: tuple[int, ...]


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


PRESETS = {
    "nano": EpsConfig(
        NANO_BACKBONE,
        NANO_TRAIN,
        SaliencyConfig(source="nano"),
        inference=NANO_INFERENCE,
        background_threshold=0.25,
        refiner=refiner_at("nano"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": EpsConfig(
        SMALL_BACKBONE,
        SMALL_TRAIN,
        SaliencyConfig(source="rembg"),
        inference=SMALL_INFERENCE,
        refiner=refiner_at("small"),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": EpsConfig(
        RESNET38D,
        PAPER_TRAIN,
        SaliencyConfig(source="folder"),
        refiner=RefinerConfig(crf=DEEPLAB_CRF, crf_background_power=7.0),
        segmenter=replace(
            SEGMENTERS["paper"],
            head="largefov_single",
            test_crf=DEEPLAB_CRF,
        ),
    ),
}
PRESETS[COCO] = replace(
    PRESETS["paper"],
    train=COCO_TRAIN,
    foreground_weight=0.9,
    refiner=replace(refiner_at(COCO), crf=DEEPLAB_CRF, crf_background_power=7.0),
    segmenter=replace(
        SEGMENTERS[COCO],
        backbone=VGG16,
        test_crf=PRESETS["paper"].segmenter.test_crf,
    ),
)
"""As the reference code trains on COCO; the paper's number there is of DeepLab V2 on VGG16."""
