"""Settings of CLIMS, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Natural, NotNegative, OneOf, Share, Similarity
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers.clip.config import NANO, ClipConfig
from methods.layers.clip.words import TextConfig, Texts
from methods.layers.config import (
    BackboneConfig,
    CamInferenceConfig,
    CamStageConfig,
    SegmenterConfig,
    TrainConfig,
    TrainingConfig,
)
from methods.layers.presets import (
    COCO,
    COCO_IMAGES,
    NANO_BACKBONE,
    NANO_INFERENCE,
    NANO_TRAIN,
    SMALL_BACKBONE,
    SMALL_INFERENCE,
    SMALL_TRAIN,
    VOC_IMAGES,
)
from methods.refiners import IRN, PSA, refiner_at
from methods.refiners.config import RefinerConfig
from methods.segmenters import DEEPLAB_V2_CLIMS, SEGMENTERS

INITIALISATIONS = ("classifier", "backbone")
COMPOSITIONS = ("normalised", "pixels")
ACTIVATIONS = ("relu", "sigmoid")

CLIMS_TEXT = TextConfig(prompts=("a photo of {}.",))


@dataclass(frozen=True)
class GuidedConfig(MethodConfig):
    """What methods share that train a CAM network under CLIP's guidance.

    initialisation: "classifier", a CAM classifier trained with `classifier` (CLIMS's code), or "backbone", the
                    pretrained backbone and a new classifier
    classifier:     training of that classifier; as `cam`'s, the artifact is shared with it
    classifier_frozen_stages: first stages of the backbone that this training leaves as they are; null: the backbone's.
                    3: as in IRNet, which detaches the features after layer2
    classifier_fixed_statistics: whether its batch normalisations keep their statistics (IRNet)
    composition:    what regions are multiplied with, "normalised" or "pixels" (`methods.clims.regions`)
    activation:     of the maps at inference: "relu" (the reference code) or "sigmoid" (as in training)
    background_threshold: fixed background score in [0, 1]
    classifier_checkpoint: a classifier of IRNet's or CLIMS's code in place of its training
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    text: TextConfig = field(default_factory=TextConfig)
    initialisation: Annotated[str, OneOf(INITIALISATIONS)] = "classifier"
    classifier: TrainConfig = field(default_factory=TrainConfig)
    classifier_frozen_stages: Natural | None = None
    classifier_fixed_statistics: bool = False
    train: TrainConfig = field(default_factory=TrainConfig)
    composition: Annotated[str, OneOf(COMPOSITIONS)] = "normalised"
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    activation: Annotated[str, OneOf(ACTIVATIONS)] = "relu"
    background_threshold: Share = 0.15
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    classifier_checkpoint: str | None = None


@dataclass(frozen=True)
class LossWeights:
    """Weights of the four terms (CLIMS Sec. 4.1; COCO's are its code's).

    object_text: of L_OTM, object regions and their class's text
    background_text: of L_BTM, what the maps leave out and the class's text
    co_occurring: of L_CBS, object regions and texts of common backgrounds
    area: of L_REG, the area of the maps
    """

    object_text: NotNegative = 10.0
    background_text: NotNegative = 24.0
    co_occurring: NotNegative = 1.0
    area: NotNegative = 0.2


@dataclass(frozen=True)
class ClimsConfig(GuidedConfig):
    """CLIMS (Xie et al., CVPR 2022).

    weights:   of the losses
    class_factors: on the two matching losses of some classes, as "class=factor" (camera-ready code); classes that the
               data lacks are passed over
    threshold: similarity above which a background text is suppressed, in [-1, 1] (VOC .26, COCO .285)
    network_checkpoint: a trained network of CLIMS's code in place of both trainings
    """

    text: TextConfig = field(default_factory=lambda: CLIMS_TEXT)
    weights: LossWeights = field(default_factory=LossWeights)
    class_factors: tuple[str, ...] = ()
    threshold: Similarity = 0.26
    network_checkpoint: str | None = None


@dataclass(frozen=True)
class GuidedTrainingConfig(TrainingConfig):
    """What a guided training depends on; `initialisation` is in the stage's inputs as well."""

    clip: ClipConfig
    texts: Texts
    composition: str
    initialisation: str


@dataclass(frozen=True)
class ClimsTrainingConfig(GuidedTrainingConfig):
    """What CLIMS's training depends on; see `ClimsConfig`. class_factors: of the C classes, or ()."""

    weights: LossWeights
    class_factors: tuple[float, ...]
    threshold: float


@dataclass(frozen=True, kw_only=True)
class GuidedCamConfig(CamStageConfig):
    """What CAM inference depends on, besides the trained network."""

    activation: str


RESNET50 = BackboneConfig("resnet50", "torchvision/resnet50", 16, frozen_stages=1)
"""First convolution and its normalisation frozen, as in CLIMS's code."""
_IRN_RECIPE = Recipe(crop=512, resize_long=(320, 640))
RESNET50_CLASSIFIER = TrainConfig(
    iterations=5 * (VOC_IMAGES // 16),
    batch_size=16,
    learning_rate=0.1,
    momentum=1e-4,
    weight_decay=1e-4,
    bias_multiplier=1.0,
    recipe=_IRN_RECIPE,
)
"""The CAM classifier that CLIMS starts from: IRNet's, of which all but the first convolution learns."""
CLIMS_TRAIN = TrainConfig(
    iterations=15 * (VOC_IMAGES // 16),
    batch_size=16,
    learning_rate=2.5e-4,
    momentum=1e-4,
    weight_decay=1e-4,
    bias_multiplier=1.0,
    recipe=_IRN_RECIPE,
)
NANO_GUIDED = replace(NANO_TRAIN, iterations=150, learning_rate=2e-4, warmup=10)
SMALL_GUIDED = replace(SMALL_TRAIN, iterations=150, batch_size=8, learning_rate=1e-4)
NANO_CLIP = ClipConfig(NANO, "nano/clip")

PRESETS = {
    "nano": ClimsConfig(
        NANO_BACKBONE,
        NANO_CLIP,
        classifier=NANO_TRAIN,
        train=NANO_GUIDED,
        inference=NANO_INFERENCE,
        threshold=0.4,  # the miniature's cosines are larger: .3 for an object and its own context
        background_threshold=0.25,
        refiner=refiner_at("nano", "irn"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": ClimsConfig(
        SMALL_BACKBONE,
        classifier=SMALL_TRAIN,
        train=SMALL_GUIDED,
        inference=SMALL_INFERENCE,
        refiner=refiner_at("small", "irn"),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": ClimsConfig(
        RESNET50,
        text=replace(CLIMS_TEXT, names=("person=player",)),
        classifier=RESNET50_CLASSIFIER,
        classifier_fixed_statistics=True,
        train=CLIMS_TRAIN,
        refiner=RefinerConfig(
            "irn", irn=replace(IRN["paper"], confident_background=0.1, background_threshold=0.2)
        ),
        segmenter=DEEPLAB_V2_CLIMS,
    ),
}
PRESETS[COCO] = replace(
    PRESETS["paper"],
    classifier=replace(RESNET50_CLASSIFIER, iterations=5 * (COCO_IMAGES // 16)),
    # On two devices, 16 images each, whose gradients are averaged: of the suppression, a sum, half counts.
    train=replace(CLIMS_TRAIN, iterations=8 * (COCO_IMAGES // 32), batch_size=32, learning_rate=5e-4),
    weights=LossWeights(2.0, 14.0, 1.25 / 2, 0.2),
    threshold=0.285,
    text=replace(CLIMS_TEXT, names=("person=player", "mouse=mouse", "remote=remote")),
    refiner=replace(
        PRESETS["paper"].refiner,
        psa=PSA[COCO],
        irn=replace(
            PRESETS["paper"].refiner.irn,
            train=IRN[COCO].train,
            confident_foreground=0.35,
            background_threshold=0.25,
        ),
    ),
    segmenter=SEGMENTERS[COCO],
)
