"""Settings of DuPL, and its presets by scale: two of ToCo's networks in one training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import (
    Conflicts,
    Count,
    Factor,
    Inside,
    Natural,
    NotNegative,
    OneOf,
    Share,
    Within,
    out_of_order,
)
from methods.base import MethodConfig, part
from methods.layers.config import CamInferenceConfig, TrainConfig, TrainingConfig, VitConfig
from methods.layers.presets import COCO, VIT_BASE
from methods.refiners.config import RefinerConfig
from methods.toco.config import POOLINGS, NetworkConfig
from methods.toco.parts import DecoderConfig, TestConfig
from methods.toco.presets import PRESETS as TOCO

STUDENTS = ("student1", "student2")
DISCREPANCIES = ("linear", "logarithm")


@dataclass(frozen=True)
class DuplWeights:
    """Factors of the terms, each of which is the sum of both students'; zero leaves a term out.

    classification: of both classifiers of each student
    patch_contrast: ToCo's PTC
    discrepancy:    of the students' patch tokens
    segmentation:   of the decoders, by each other's labels
    consistency:    with a strongly changed view, where the labels say nothing
    """

    classification: Annotated[float, Within(0, above=True)] = 1.0
    patch_contrast: NotNegative = 0.2
    discrepancy: NotNegative = 0.1
    segmentation: NotNegative = 0.2
    consistency: NotNegative = 0.05


@dataclass(frozen=True)
class DuplPhaseConfig:
    """Shares of the iterations, in [0, 1], from which on something acts.

    segmentation: the decoders learn
    contrast:     patch tokens are contrasted
    discrepancy:  the students' patch tokens are driven apart
    trust:        labels are filtered of noise, and the consistency acts
    thresholds:   the object threshold falls
    auxiliary_labels: up to here the decoders' labels are of the auxiliary layers' CAMs
    """

    segmentation: Share = 0.1
    contrast: Share = 0.0
    discrepancy: Share = 0.0
    trust: Share = 0.4
    thresholds: Share = 0.1
    auxiliary_labels: Share = 0.0


@dataclass(frozen=True)
class ThresholdConfig:
    """CAM from which on a token or pixel is an object, and up to which it is background; between, it is ignored.

    low:   β_l
    high, final: β_h at first and at the end, between which it falls by a cosine; an image's is the largest of its
           classes'
    kept:  names of classes whose β_h stays as it is at first; those that a data set does not have are passed over
    """

    low: Share = 0.25
    high: Share = 0.70
    final: Share = 0.55
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoiseConfig:
    """The adaptive noise filter: a mixture of two Gaussians of an image's losses on object pixels.

    floor:      loss above which a pixel counts in the mixture
    least:      number of such pixels above which there is a mixture
    separation: η, difference of the means above which there is noise
    posterior:  γ, probability of the component with the larger mean above which a label is ignored
    above_lower_mean: leave labels whose loss is below the lower mean. Where the noise is spread wide, the reference
                ignores those, too: of two Gaussians the wider one is the likelier far away on either side
    """

    floor: NotNegative = 0.1
    least: Natural = 1000
    separation: NotNegative = 1.0
    posterior: Inside = 0.95
    above_lower_mean: bool = False


@dataclass(frozen=True)
class ConsistencyConfig:
    """The strongly changed view, and where it counts.

    confidence: of the student's prediction above which it is a target
    scale:      of the view's size
    operations: changes of colour, each one of seven (`methods.layers.strong_augmentation`)
    factor:     on saturation, contrast, brightness or sharpness; bits: that posterising leaves of a channel's eight
    """

    confidence: Share = 0.9
    scale: Factor = 0.75
    operations: Natural = 5
    factor: NotNegative = 0.7
    bits: Annotated[int, Within(1, 8)] = 2


@dataclass(frozen=True)
class DuplTrainingConfig(TrainingConfig):
    """What the training depends on; see `DuplConfig`."""

    phases: DuplPhaseConfig
    weights: DuplWeights
    thresholds: ThresholdConfig
    noise: NoiseConfig
    consistency: ConsistencyConfig
    discrepancy: str
    cam_scales: tuple[float, ...]


@dataclass(frozen=True)
class DuplConfig(MethodConfig):
    """DuPL (Wu et al., CVPR 2024): two students, each of which learns to segment from the other's CAM.

    auxiliary_layer: whose CAM labels the tokens, counted from the last, which is 1
    pooling:     of the patch tokens for classification: max, or mean for schedules too short for max
    discrepancy: linear: 1 + the cosine of both students' tokens; logarithm: -log(1 - cosine)
    cam_scales:  of the images whose CAMs are added in the training, with mirror images; empty: the CAM of the training
                 step's own tokens
    which:       network that gives CAM and predictions: student1 or student2
    background_threshold: constant background score of the pseudo-labels, in [0, 1]
    """

    vit: VitConfig = VIT_BASE
    auxiliary_layer: Count = 3
    pooling: Annotated[str, OneOf(POOLINGS)] = "max"
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    phases: DuplPhaseConfig = field(default_factory=DuplPhaseConfig)
    weights: DuplWeights = field(default_factory=DuplWeights)
    thresholds: ThresholdConfig = field(default_factory=ThresholdConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    discrepancy: Annotated[str, OneOf(DISCREPANCIES)] = "linear"
    cam_scales: tuple[Factor, ...] = ()
    which: Annotated[str, OneOf(STUDENTS)] = STUDENTS[0]
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    background_threshold: Share = 0.5
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    test: TestConfig = field(default_factory=TestConfig)

    @property
    def network(self) -> NetworkConfig:
        return part(NetworkConfig, self)

    def conflicts(self) -> Conflicts:
        for low, high in (("low", "final"), ("final", "high")):
            for why in out_of_order(self.thresholds, low, high):
                yield "thresholds", why
        if self.weights.consistency > 0 and self.weights.segmentation == 0:
            yield (
                "weights",
                "consistency is of the decoders, which segmentation=0 leaves untrained; set weights.consistency=0, too",
            )
        if self.weights.segmentation > 0 and self.phases.trust < self.phases.segmentation:
            yield (
                "phases",
                f"trust={self.phases.trust} is before segmentation={self.phases.segmentation}, up to which there are no "
                "labels to filter; give at least that",
            )

    def training(self) -> DuplTrainingConfig:
        return part(DuplTrainingConfig, self)


_VOC_KEPT = ("aeroplane", "bicycle", "bird", "boat", "chair", "train")
_DEIT = replace(VIT_BASE, name="timm/deit_base_patch16_224", weights="timm/deit_base_patch16_224")


def _noise(crop: int) -> NoiseConfig:
    """As large a part of a smaller crop's pixels as 1 000 are of 448²."""
    return NoiseConfig(least=round(1000 * (crop / 448) ** 2))


def _from_toco(key: str) -> DuplConfig:
    """Network, training, inference and test of ToCo's preset; the decoder's weight and start are ToCo's, too."""
    toco = TOCO[key]
    return part(
        DuplConfig,
        toco,
        phases=DuplPhaseConfig(toco.phases.segmentation, thresholds=toco.phases.segmentation),
        weights=DuplWeights(segmentation=toco.weights.segmentation),
        thresholds=ThresholdConfig(toco.labels.low, toco.labels.high),
        cam_scales=toco.labels.scales,
        which=STUDENTS[0],
    )


def _nano(config: DuplConfig) -> DuplConfig:
    """ToCo's at nano, whose decoder begins late and whose object threshold is lower; at half of its rate."""
    return replace(
        config,
        train=replace(config.train, learning_rate=1.5e-3),
        phases=replace(config.phases, trust=0.6),
        thresholds=replace(config.thresholds, final=0.45),
        background_threshold=0.5,
        noise=_noise(config.train.recipe.crop),
    )


def _small(config: DuplConfig) -> DuplConfig:
    return replace(config, noise=_noise(config.train.recipe.crop))


def _paper(config: DuplConfig) -> DuplConfig:
    return replace(
        config,
        vit=_DEIT,
        weights=DuplWeights(),
        thresholds=replace(config.thresholds, final=0.55, kept=_VOC_KEPT),
    )


def _coco(config: DuplConfig) -> DuplConfig:
    iterations = config.train.iterations
    start = 12000 / iterations
    return replace(
        config,
        phases=DuplPhaseConfig(
            segmentation=8000 / iterations,
            contrast=start,
            discrepancy=8000 / iterations,
            trust=32000 / iterations,
            thresholds=start,
            auxiliary_labels=start,
        ),
        weights=DuplWeights(discrepancy=0.05),
        thresholds=replace(config.thresholds, kept=()),
    )


PRESETS = {
    "nano": _nano(_from_toco("nano")),
    "small": _small(_from_toco("small")),
    "paper": _paper(_from_toco("paper")),
    COCO: _coco(_paper(_from_toco(COCO))),
}
