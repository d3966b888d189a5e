"""Settings of LPCAM, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from datasets.limits import Count, Natural, NotNegative, Share
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers import presets
from methods.layers.config import (
    BackboneConfig,
    CamInferenceConfig,
    CamStageConfig,
    SegmenterConfig,
    TrainConfig,
)
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS


@dataclass(frozen=True)
class PrototypeConfig:
    """How prototypes are found (Chen & Sun, Sec. 3.2).

    threshold:  CAM above which a cell is the class's, and below which it is context (tau)
    clusters:   prototypes a class, and contexts (K)
    tolerance:  of K-Means: the squared sum of the centres' moves at which it ends
    foreground_probability: of its class, by the classifier, above which a prototype is kept (mu_f)
    context_probability:    below which a context is kept (mu_b)
    context_least: above which a context is kept: what the classifier is sure about is no context that misleads it
    images_per_class: images that prototypes are found in, drawn by the seed; 0: all
    """

    threshold: Share = 0.1
    clusters: Count = 12
    tolerance: NotNegative = 5.0
    foreground_probability: Share = 0.9
    context_probability: Share = 0.9
    context_least: Share = 0.05
    images_per_class: Natural = 0


@dataclass(frozen=True)
class LpcamConfig(MethodConfig):
    """LPCAM (Chen & Sun, CVPR 2023).

    cam_threshold: constant background score of the plain CAM, in [0, 1], which is scored too
    background_threshold: of LPCAM's
    classifier_checkpoint: a classifier of PSA's or IRNet's code in place of the training
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    prototypes: PrototypeConfig = field(default_factory=PrototypeConfig)
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    cam_threshold: Share = 0.15
    background_threshold: Share = 0.30
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])
    classifier_checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class LpcamStageConfig(CamStageConfig):
    """What the maps depend on, besides the trained network and its plain CAMs; see `PrototypeConfig`.

    With `inference.flip` the mirrored image's features are added before they are compared.
    """

    threshold: float
    clusters: int
    tolerance: float
    foreground_probability: float
    context_probability: float
    context_least: float
    images_per_class: int


def lpcam_irn(key: str) -> RefinerConfig:
    """IRNet with the thresholds of LPCAM's code; key: of the preset."""
    irn = replace(IRN[key], confident_foreground=0.45, confident_background=0.25, background_threshold=0.35)
    return RefinerConfig("irn", psa=PSA[key], irn=irn)


_TRAIN = TrainConfig(
    iterations=5 * (presets.VOC_IMAGES // 16),
    batch_size=16,
    learning_rate=0.1,
    momentum=1e-4,
    weight_decay=1e-4,
    bias_multiplier=1.0,
    recipe=Recipe(crop=512, resize_long=(320, 640)),
)
_SEGMENTER = replace(SEGMENTERS["paper"], train=replace(SEGMENTERS["paper"].train, batch_size=5))

PRESETS = {
    "nano": LpcamConfig(
        presets.NANO_BACKBONE,
        presets.NANO_TRAIN,
        PrototypeConfig(foreground_probability=0.5),
        presets.NANO_INFERENCE,
        background_threshold=0.40,
        refiner=lpcam_irn("nano"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": LpcamConfig(
        presets.SMALL_BACKBONE,
        presets.SMALL_TRAIN,
        PrototypeConfig(images_per_class=100),
        presets.SMALL_INFERENCE,
        refiner=lpcam_irn("small"),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": LpcamConfig(
        BackboneConfig(
            "resnet50_undilated", "torchvision/resnet50", 16, frozen_stages=1, fixed_statistics=True
        ),
        _TRAIN,
        PrototypeConfig(images_per_class=100),
        CamInferenceConfig(scales=(1.0, 0.5, 1.5, 2.0)),
        refiner=lpcam_irn("paper"),
        segmenter=_SEGMENTER,
    ),
}
_PAPER = PRESETS["paper"]
PRESETS[presets.COCO] = replace(
    _PAPER,
    train=replace(_TRAIN, iterations=5 * (presets.COCO_IMAGES // 16)),
    prototypes=PrototypeConfig(0.25, 20, context_probability=0.5, context_least=0.0, images_per_class=100),
    refiner=lpcam_irn(presets.COCO),
    segmenter=replace(
        SEGMENTERS[presets.COCO],
        train=replace(SEGMENTERS[presets.COCO].train, batch_size=10, learning_rate=2e-4),
    ),
)
