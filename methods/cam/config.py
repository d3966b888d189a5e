"""Settings of plain CAM, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from datasets.limits import OffByDefault, Share, Within
from methods.base import MethodConfig
from methods.layers import presets
from methods.layers.config import (
    BackboneConfig,
    CamInferenceConfig,
    SegmenterConfig,
    TrainConfig,
    TrainingConfig,
)
from methods.refiners import refiner_at
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS

Crops = Annotated[int, Within(1, 256), OffByDefault()]


@dataclass(frozen=True)
class CamTrainingConfig(TrainingConfig):
    """What a classifier's training depends on; dropout, crops: see `CamConfig`."""

    dropout: float = field(default=0.0, kw_only=True)
    crops: Crops = field(default=1, kw_only=True)


@dataclass(frozen=True)
class CamConfig(MethodConfig):
    """backbone: as the method it is compared with; background_threshold: fixed background score in [0, 1].

    classifier_checkpoint: a classifier of PSA's or IRNet's code in place of the training
    dropout: probability of dropping a channel of the features before the classifier, in training
    crops: of each training image, drawn by `train.recipe`; the highest logits of all of them are held to its labels.
           Several are for large images, at native resolution (`train.recipe.resize_long=[0,0]`): any crop alone may miss
           what the image is labelled with
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    background_threshold: Share = 0.20
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])
    classifier_checkpoint: str | None = None
    dropout: Annotated[float, Within(0, 1, below=True)] = 0.0
    crops: Crops = 1


PRESETS = {
    "nano": CamConfig(
        presets.NANO_BACKBONE,
        presets.NANO_TRAIN,
        presets.NANO_INFERENCE,
        background_threshold=0.25,
        refiner=refiner_at("nano"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": CamConfig(
        presets.SMALL_BACKBONE,
        presets.SMALL_TRAIN,
        presets.SMALL_INFERENCE,
        refiner=refiner_at("small"),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": CamConfig(presets.RESNET38D, presets.PAPER_TRAIN, dropout=0.5),
    presets.COCO: CamConfig(
        presets.RESNET38D,
        presets.COCO_TRAIN,
        refiner=refiner_at(presets.COCO),
        segmenter=SEGMENTERS[presets.COCO],
        dropout=0.5,
    ),
}
