"""Settings of the refiner PSA. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from datasets.limits import AtOnce, Count, Natural, Positive, Rising, Within
from datasets.recipe import Recipe
from methods.base import part
from methods.layers.config import BackboneConfig, CrfConfig, TrainConfig, TrainingConfig
from methods.layers.presets import VOC_IMAGES


@dataclass(frozen=True)
class AffinityLabelConfig:
    """What the affinity labels depend on; see `PsaConfig`."""

    powers: tuple[float, float]
    crf: CrfConfig
    crf_stride: int


@dataclass(frozen=True)
class AffinityTrainingConfig(TrainingConfig):
    """What the affinity network depends on; see `PsaConfig`."""

    init: str
    radius: int


@dataclass(frozen=True)
class WalkConfig:
    """What the walk depends on, besides the trained network; see `PsaConfig`."""

    radius: int
    beta: float
    logt: int
    background_power: float | None
    background_threshold: float
    batch_size: AtOnce


@dataclass(frozen=True)
class PsaConfig:
    """PSA (Ahn and Kwak, CVPR 2018): a network learns which cells are alike, the CAM walks along its affinities.

    backbone:   of the affinity network; init: what its weights have seen
    train:      of the affinity network; the crop is a multiple of the output stride
    crf:        under the affinity labels
    label_powers: low and high power of the background score (1 - max CAM)^power under the affinity labels
    crf_stride: pixels a cell of the affinity labels' CRF; 1: at the image's size
    radius:     cells nearer than this are pairs (34 offsets at 5)
    beta:       power of the affinities in the transition matrix
    logt:       the walk takes 2^logt steps
    background_power: power of the walking background score; null: the constant `background_threshold`, which
                comes out of the walk as it went in
    batch_size: images of equal size at once
    network_checkpoint: an affinity network of PSA's code in place of the labels and the training
    """

    backbone: BackboneConfig = field(
        default_factory=lambda: BackboneConfig(
            "resnet38d", "resnet38d/res38_cls", 8, frozen_stages=2, freeze_bn=True
        )
    )
    init: str = "imagenet, then VOC's image labels"
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            iterations=8 * (VOC_IMAGES // 8),
            batch_size=8,
            learning_rate=0.1,
            momentum=5e-4,  # PolyOptimizer's: the weight decay in momentum's place
            weight_decay=5e-4,
            head_multiplier=10.0,
            bias_multiplier=2.0,
            recipe=Recipe(crop=448, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
        )
    )
    crf: CrfConfig = field(default_factory=lambda: CrfConfig(10, 3.0, 3.0, 80.0, 13.0, 10.0))
    label_powers: Annotated[tuple[Positive, Positive], Rising()] = (4.0, 32.0)
    crf_stride: Count = 1
    radius: Annotated[int, Within(2)] = 5
    beta: Positive = 8.0
    logt: Natural = 8
    background_power: Positive | None = 16.0
    batch_size: AtOnce = 8
    network_checkpoint: str | None = None

    def labels(self) -> AffinityLabelConfig:
        """The part that the affinity labels depend on."""
        return part(AffinityLabelConfig, self, powers=self.label_powers)

    def training(self) -> AffinityTrainingConfig:
        """The part that the affinity network depends on."""
        return part(AffinityTrainingConfig, self, network=self.backbone)

    def walk(self, background_threshold: float) -> WalkConfig:
        """The part that the walk depends on, besides the network's weights."""
        threshold = background_threshold if self.background_power is None else 0.0
        return part(WalkConfig, self, background_threshold=threshold)
