"""Settings of DSKD-GC and of ToCo, which it builds on: one network, one training stage; presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Batch, Count, Factor, Factors, NotNegative, OneOf, Positive, Share
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers.config import COCO, CamInferenceConfig, CrfConfig, TrainConfig, VitConfig
from methods.layers.nano import NANO_VIT_TRAIN
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.refiners.gc.config import CorrectionConfig

REFINEMENTS = ("none", "par", "gc")
NETWORKS = ("teacher", "student")
AVERAGES = ("conventional", "literal")
AXES = ("channels", "tokens")
POOLINGS = ("max", "mean")
SEGMENTATION_LOSSES = ("mean", "balanced")


@dataclass(frozen=True)
class LossWeights:
    """Factors of the terms (Eq. 23). Zero leaves a term out, and the parts of the network that only it needs; what
    gives maps all the same (auxiliary classifier, decoder) stays as it starts.

    classification:       L_cls, of the class token
    patch_classification: of the pooled patch tokens (ToCo's L_cls), by the weights that make the CAM
    auxiliary:            of the pooled tokens of the intermediate layer, whose CAM labels the tokens
    patch_contrast:       λ1, L_PTC
    similarity:           λ2, L_sim, in the warm-up
    uncertain:            λ3, L_PUNC, after the warm-up
    segmentation:         λ4, L_seg
    class_contrast:       L_CTC of ToCo
    """

    classification: NotNegative = 1.0
    patch_classification: NotNegative = 1.0
    auxiliary: NotNegative = 1.0
    patch_contrast: NotNegative = 0.2
    similarity: NotNegative = 0.5
    uncertain: NotNegative = 0.1
    segmentation: NotNegative = 0.1
    class_contrast: NotNegative = 0.0

    @property
    def distils(self) -> bool:
        """Whether there is a student."""
        return self.similarity > 0 or self.uncertain > 0


@dataclass(frozen=True)
class PhaseConfig:
    """Shares of the iterations, in [0, 1].

    warm_up:      both networks learn by gradient; afterwards the student is the teacher's moving average
    segmentation: from here on the decoder learns from pseudo-labels
    """

    warm_up: Share = 0.1
    segmentation: Share = 0.1


@dataclass(frozen=True)
class ContrastConfig:
    """Labels of patch tokens and their contrast.

    low, high: β_l and β_h, CAM below which a token is background and above which it is foreground
    absolute:  |cos| (ToCo's code) instead of cos (as printed)
    """

    low: Share = 0.25
    high: Share = 0.70
    absolute: bool = True


@dataclass(frozen=True)
class DistillationConfig:
    """Teacher and student.

    student_rate: of the student's learning rate to the teacher's
    similarity:   "channels": one cosine a channel's map, as Eq. 7 is printed; "tokens": one a token
    average:      "conventional": student = m * student + (1 - m) * teacher; "literal": as Eq. 6 is printed,
                  student = m * teacher + (1 - m) * student
    momentum:     m after the warm-up and at the end, with a cosine between (DINO)
    low, high:    of the region of interest, the CAM between them
    hidden, bottleneck, outputs: widths of the projector; temperatures: of teacher's and student's softmax.
                  Its outputs are cosines: without temperatures, their softmax over thousands is all but even
    centring: momentum of the student's mean projection, which is taken off; null: as printed, where the loss soon
              fell to almost nothing at nano
    """

    student_rate: Positive = 0.1
    similarity: Annotated[str, OneOf(AXES)] = "channels"
    average: Annotated[str, OneOf(AVERAGES)] = "conventional"
    momentum: tuple[Share, Share] = (0.996, 1.0)
    low: Share = 0.2
    high: Share = 0.7
    hidden: Count = 2048
    bottleneck: Count = 256
    outputs: Count = 8192
    temperatures: tuple[Positive, Positive] = (0.1, 0.04)
    centring: Share | None = 0.9


@dataclass(frozen=True)
class ClassContrastConfig:
    """ToCo's class token contrast.

    crops, size: number and side of the local crops; negative_below: region score up to which one is negative
    temperature: of the similarities in the contrastive loss
    momentum:    of the head that sees whole images; hidden, bottleneck, outputs: widths of the heads
    """

    crops: Count = 8
    size: Count = 64
    negative_below: Share = 0.2
    temperature: Positive = 0.5
    momentum: Share = 0.9
    hidden: Count = 2048
    bottleneck: Count = 256
    outputs: Count = 1024


@dataclass(frozen=True)
class LabelConfig:
    """Pseudo-labels that the decoder learns from.

    refinement: "none": the CAM against the background threshold; "gc": those, corrected; "par": ToCo's, refined
                by PAR, foreground above `high`, background below `low`, the rest ignored
    background_threshold: of none and gc, in [0, 1]; low, high: of par
    scales:     of the images whose CAMs are added; empty: the CAM of the training step's own tokens
    loss:       "mean" over labelled pixels; "balanced": half for the background, half for the objects (ToCo)
    """

    refinement: Annotated[str, OneOf(REFINEMENTS)] = "gc"
    background_threshold: Share = 0.5
    low: Share = 0.25
    high: Share = 0.70
    scales: tuple[Factor, ...] = ()
    loss: Annotated[str, OneOf(SEGMENTATION_LOSSES)] = "mean"


@dataclass(frozen=True)
class DecoderConfig:
    """LargeFOV as ToCo has it: two 3x3 convolutions and the classifier.

    width: channels of the convolutions; dilation: of the convolutions, in patches
    norm: batch normalisation after either convolution, for short schedules
    """

    width: Count = 512
    dilation: Count = 5
    norm: bool = False


@dataclass(frozen=True)
class NetworkConfig:
    """What inference has to know of the network.

    auxiliary_layer: counted from the last, which is 1
    pooling: of the patch tokens for classification: "max" (ToCo) or "mean"
    """

    vit: VitConfig
    auxiliary_layer: int
    pooling: str
    decoder: DecoderConfig


@dataclass(frozen=True)
class TrainingConfig:
    """What the training depends on; see `DskdConfig`."""

    network: NetworkConfig
    train: TrainConfig
    phases: PhaseConfig
    weights: LossWeights
    contrast: ContrastConfig
    distillation: DistillationConfig | None
    class_contrast: ClassContrastConfig | None
    labels: LabelConfig
    correction: CorrectionConfig | None

    @property
    def projection(self) -> DistillationConfig | None:
        """What the projectors are made by; None where their loss is off."""
        return self.distillation if self.weights.uncertain > 0 else None


@dataclass(frozen=True)
class CamStageConfig:
    """What the CAMs depend on, besides the trained weights; which: teacher or student."""

    network: NetworkConfig
    which: str
    inference: CamInferenceConfig


@dataclass(frozen=True)
class CorrectedLabelConfig:
    """What the corrected labels depend on, besides CAM and weights."""

    network: NetworkConfig
    which: str
    correction: CorrectionConfig
    background_threshold: float
    batch_size: int


@dataclass(frozen=True)
class TestConfig:
    """Inference of the decoder.

    scales: factors on the image's size; flip: add the mirrored image
    crf: dense CRF on the scores; null: none
    batch_size: images of equal size at once
    """

    scales: Factors = (1.0, 1.25, 1.5)
    flip: bool = True
    crf: CrfConfig | None = field(default_factory=lambda: CrfConfig(10, 1.0, 1.0, 121.0, 5.0, 4.0))
    batch_size: Batch = 4


@dataclass(frozen=True)
class PredictConfig:
    """What the predictions depend on, besides the weights."""

    network: NetworkConfig
    which: str
    test: TestConfig


@dataclass(frozen=True)
class DskdConfig(MethodConfig):
    """DSKD-GC (Bai et al., 2025), and its baseline ToCo (Ru et al., CVPR 2023), by their losses' weights.

    auxiliary_layer:      whose CAM labels the tokens, counted from the last, which is 1
    pooling:              of the patch tokens for classification: max, or mean for schedules too short for max
    which:                network that gives CAM, features and predictions: teacher or student
    background_threshold: constant background score of the pseudo-labels, in [0, 1]
    refiner:              of the pseudo-labels where `labels.refinement` is not gc
    """

    vit: VitConfig = field(
        default_factory=lambda: VitConfig(
            "timm/vit_base_patch16_224.orig_in21k_ft_in1k",
            "timm/vit_base_patch16_224.orig_in21k_ft_in1k",
            final_norm=True,
        )
    )
    auxiliary_layer: Count = 3
    pooling: Annotated[str, OneOf(POOLINGS)] = "max"
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    phases: PhaseConfig = field(default_factory=PhaseConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    class_contrast: ClassContrastConfig = field(default_factory=ClassContrastConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    which: Annotated[str, OneOf(NETWORKS)] = "teacher"
    inference: CamInferenceConfig = field(
        default_factory=lambda: CamInferenceConfig(scales=(1.0, 0.5, 1.5), batch_size=4)
    )
    background_threshold: Share = 0.5
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    test: TestConfig = field(default_factory=TestConfig)

    @property
    def network(self) -> NetworkConfig:
        return NetworkConfig(self.vit, self.auxiliary_layer, self.pooling, self.decoder)

    def training(self) -> TrainingConfig:
        """The part that the training depends on: settings of a loss or refinement that is off are not in it."""
        return TrainingConfig(
            self.network,
            self.train,
            self.phases,
            self.weights,
            self.contrast,
            self.distillation if self.weights.distils else None,
            self.class_contrast if self.weights.class_contrast > 0 else None,
            self.labels,
            self.correction if self.labels.refinement == "gc" else None,
        )


PRESETS = {
    "nano": DskdConfig(
        VitConfig("vit_nano", "nano/vit_nano"),
        pooling="mean",
        decoder=DecoderConfig(width=64, dilation=2, norm=True),
        train=NANO_VIT_TRAIN,
        phases=PhaseConfig(0.35, 0.35),
        weights=LossWeights(segmentation=1.0),
        distillation=DistillationConfig(
            momentum=(0.95, 1.0), hidden=192, bottleneck=48, outputs=256, temperatures=(0.1, 0.04)
        ),
        class_contrast=ClassContrastConfig(crops=4, size=32, hidden=192, bottleneck=48, outputs=96),
        labels=LabelConfig(loss="balanced"),
        inference=CamInferenceConfig(scales=(1.25,), batch_size=32),
        refiner=RefinerConfig(psa=PSA["nano"], irn=IRN["nano"]),
        test=TestConfig(scales=(1.0,), crf=None, batch_size=32),
    ),
    "small": DskdConfig(
        VitConfig("timm/vit_small_patch14_dinov2", "timm/vit_small_patch14_dinov2", final_norm=True),
        pooling="mean",
        decoder=DecoderConfig(width=256, dilation=2, norm=True),
        # At the paper's rates, made for 20 000 iterations, the classifiers are still at the classes' shares when the
        # transformer's tokens have become alike. On features that stand still they need 6e-3 for a few hundred.
        train=TrainConfig(
            iterations=300,
            batch_size=12,
            optimiser="adamw",
            learning_rate=1e-5,
            weight_decay=0.01,
            head_multiplier=600.0,
            bias_multiplier=1.0,
            schedule="cosine",
            warmup=40,
            recipe=Recipe(crop=168, resize_crop=(0.32, 1.0)),
        ),
        phases=PhaseConfig(0.25, 0.25),
        weights=LossWeights(segmentation=1.0),
        distillation=DistillationConfig(
            momentum=(0.98, 1.0), hidden=1024, bottleneck=128, outputs=1024, temperatures=(0.1, 0.04)
        ),
        class_contrast=ClassContrastConfig(crops=4, size=56, hidden=1024, bottleneck=128, outputs=512),
        labels=LabelConfig(loss="balanced"),
        inference=CamInferenceConfig(scales=(1.0,), batch_size=4),
        refiner=RefinerConfig(psa=PSA["small"], irn=IRN["small"]),
        test=TestConfig(scales=(1.0,), flip=False, crf=None, batch_size=4),
    ),
    "paper": DskdConfig(
        train=TrainConfig(
            iterations=20000,
            batch_size=4,
            optimiser="adamw",
            learning_rate=6e-5,
            weight_decay=0.01,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            schedule="cosine",
            warmup=1500,
            recipe=Recipe(crop=448, resize_crop=(0.32, 1.0)),
        ),
    ),
}
PRESETS[COCO] = replace(
    PRESETS["paper"],
    train=replace(PRESETS["paper"].train, iterations=80000),
    phases=PhaseConfig(5000 / 80000, 5000 / 80000),
    refiner=RefinerConfig(psa=PSA[COCO], irn=IRN[COCO]),
)
