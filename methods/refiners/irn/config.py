"""Settings of the refiner IRNet. Light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from datasets.limits import AtOnce, Count, Inside, Natural, Positive, Share, Within
from datasets.recipe import Recipe
from methods.base import part
from methods.layers.config import BackboneConfig, CrfConfig, TrainConfig, TrainingConfig
from methods.layers.presets import VOC_IMAGES

Radius = Annotated[int, Within(2)]
"""Cells nearer than this are pairs: there are none below 2."""


@dataclass(frozen=True)
class InterPixelLabelConfig:
    """What the inter-pixel labels depend on; see `IrnConfig`."""

    confident_foreground: float
    confident_background: float
    label_probability: float
    crf: CrfConfig
    crf_stride: int


@dataclass(frozen=True)
class InterPixelTrainingConfig(TrainingConfig):
    """What the network depends on; see `IrnConfig`."""

    init: str
    radius: int


@dataclass(frozen=True)
class EdgeWalkConfig:
    """What the walk depends on, besides the trained network; see `IrnConfig`."""

    radius: int
    beta: float
    exp_times: int
    background_threshold: float
    batch_size: AtOnce


@dataclass(frozen=True)
class IrnConfig:
    """IRNet (Ahn, Cho and Kwak, CVPR 2019): a network learns where classes end, the CAM walks up to these edges.

    The defaults are the published code's, but for the refiner's deviations (`deviations.yaml`).

    backbone:   its features are used as they are, none of it is trained; init: what its weights have seen
    train:      of the two branches; `head_multiplier` is that of the displacement branch
    crf:        under the inter-pixel labels, run from a label map instead of from probabilities
    confident_foreground: background score below which a CAM is foreground for sure, in [0, 1]
    confident_background: background score above which it is background for sure, in [0, 1]
    label_probability: probability of a pixel's own label in the CRF's unary term, in (0, 1)
    crf_stride: pixels a cell of that CRF; 1: at the image's size
    training_radius: cells nearer than this are pairs in training (152 paths at 10)
    radius:     cells nearer than this are pairs in the walk (34 paths at 5)
    beta:       power of the affinities in the transition matrix
    exp_times:  the walk takes 2^exp_times steps
    background_threshold: score of the constant background beside the walked CAM, whose maximum is 1
    batch_size: images of equal size at once
    network_checkpoint: a network of IRNet's code in place of the labels and the training
    """

    backbone: BackboneConfig = field(
        default_factory=lambda: BackboneConfig("resnet50", "torchvision/resnet50", 16)
    )
    init: str = "imagenet"
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            iterations=3 * (VOC_IMAGES // 32),
            batch_size=32,
            learning_rate=0.1,
            momentum=1e-4,  # PolyOptimizer's: the weight decay in momentum's place
            weight_decay=1e-4,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            recipe=Recipe(crop=512, scale=(0.5, 1.5)),
        )
    )
    crf: CrfConfig = field(default_factory=lambda: CrfConfig(10, 3.0, 3.0, 50.0, 5.0, 10.0))
    confident_foreground: Share = 0.30
    confident_background: Share = 0.05
    label_probability: Inside = 0.7
    crf_stride: Count = 1
    training_radius: Radius = 10
    radius: Radius = 5
    beta: Positive = 10.0
    exp_times: Natural = 8
    background_threshold: Share = 0.25
    batch_size: AtOnce = 8
    network_checkpoint: str | None = None

    def labels(self) -> InterPixelLabelConfig:
        """The part that the inter-pixel labels depend on."""
        return part(InterPixelLabelConfig, self)

    def training(self) -> InterPixelTrainingConfig:
        """The part that the network depends on."""
        return part(InterPixelTrainingConfig, self, network=self.backbone, radius=self.training_radius)

    def walk(self) -> EdgeWalkConfig:
        """The part that the walk depends on, besides the network's weights."""
        return part(EdgeWalkConfig, self)
