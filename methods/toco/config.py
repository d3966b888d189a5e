"""Settings of single-stage methods, ToCo and what builds on it: one network, one training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import (
    Batch,
    Conflicts,
    Count,
    Factor,
    Factors,
    NotNegative,
    OneOf,
    Positive,
    Share,
    out_of_order,
)
from datasets.recipe import ColoursOnly, Recipe, View
from methods.base import MethodConfig, part
from methods.layers.config import (
    CamInferenceConfig,
    CrfConfig,
    TrainConfig,
    TrainingConfig,
    VitConfig,
    crops_without_room,
)
from methods.layers.presets import VIT_BASE
from methods.refiners.config import RefinerConfig
from methods.refiners.gc.config import CorrectionConfig

REFINEMENTS = ("none", "par", "gc", "par_gc")
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
    contrast:     from here on patch and class tokens are contrasted
    auxiliary_labels: up to here the decoder's pseudo-labels are of the auxiliary layer's CAM
    """

    warm_up: Share = 0.1
    segmentation: Share = 0.1
    contrast: Share = 0.0
    auxiliary_labels: Share = 0.0


@dataclass(frozen=True)
class ContrastConfig:
    """Labels of patch tokens and their contrast.

    low, high: β_l and β_h, CAM below which a token is background and above which it is foreground
    absolute:  |cos| (ToCo's code) instead of cos (as printed)
    scales:    of the images whose auxiliary CAMs are added, with mirror images; empty: the auxiliary CAM of the
               training step's own tokens
    """

    low: Share = 0.25
    high: Share = 0.70
    absolute: bool = True
    scales: tuple[Factor, ...] = ()


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
    unit_length: divide the heads' outputs by their length. ToCo's code does not: at its widths their dot products
                 are about four times the cosines
    second_view: the second whole image, a crop of its own; null: the mirrored training image
    local_blur:  local crops are cut from the training image in other colours, drawn by train.recipe but with this
                 probability of a blur; null: from the training image as it is
    """

    crops: Count = 8
    size: Count = 64
    negative_below: Share = 0.2
    temperature: Positive = 0.5
    momentum: Share = 0.9
    hidden: Count = 2048
    bottleneck: Count = 256
    outputs: Count = 1024
    unit_length: bool = False
    second_view: Recipe | None = None
    local_blur: Share | None = None


@dataclass(frozen=True)
class LabelConfig:
    """Pseudo-labels that the decoder learns from.

    refinement: "none": the CAM against the background threshold; "gc": those, corrected; "par": ToCo's, refined
                by PAR, foreground above `high`, background below `low`, the rest ignored; "par_gc": these, corrected
    background_threshold: of none and gc, in [0, 1]; low, high: of par and par_gc
    scales:     of the images whose CAMs are added, with mirror images; empty: the CAM of the training step's own
                tokens
    loss:       "mean" over labelled pixels; "balanced": half for the background, half for the objects (ToCo)
    """

    refinement: Annotated[str, OneOf(REFINEMENTS)] = "gc"
    background_threshold: Share = 0.5
    low: Share = 0.25
    high: Share = 0.70
    scales: tuple[Factor, ...] = ()
    loss: Annotated[str, OneOf(SEGMENTATION_LOSSES)] = "mean"

    @property
    def refines(self) -> bool:
        """Whether PAR makes the labels."""
        return self.refinement in ("par", "par_gc")

    @property
    def corrects(self) -> bool:
        """Whether Gaussian correction makes the labels."""
        return self.refinement in ("gc", "par_gc")


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

    @property
    def weights(self) -> str:
        """What the transformer starts from."""
        return self.vit.weights


@dataclass(frozen=True)
class SingleStageTrainingConfig(TrainingConfig):
    """What the training depends on; see `SingleStageConfig`."""

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

    def views(self) -> tuple[View, ...]:
        """Of the training images for class token contrast: the second whole image, then the local crops' image."""
        config = self.class_contrast
        if config is None:
            return ()
        own = () if config.second_view is None else (config.second_view,)
        if config.local_blur is None:
            return own
        return *own, ColoursOnly(replace(self.train.recipe, blur=config.local_blur))


@dataclass(frozen=True)
class CorrectedLabelConfig:
    """What the corrected labels depend on, besides CAM and weights.

    trained: teacher or student; par: thresholds of the labels that PAR refines first, None: it does not
    """

    trained: str
    correction: CorrectionConfig
    background_threshold: float
    batch_size: int
    par: tuple[float, float] | None = None


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
    """What the predictions depend on, besides the weights; trained: teacher or student.

    network: once more, since `predict` segments with what the manifest of predictions alone has
    """

    network: NetworkConfig
    trained: str
    test: TestConfig


@dataclass(frozen=True)
class SingleStageConfig(MethodConfig):
    """ToCo (Ru et al., CVPR 2023), and DSKD-GC (Bai et al., 2025), which builds on it, by their losses' weights.

    auxiliary_layer:      whose CAM labels the tokens, counted from the last, which is 1
    pooling:              of the patch tokens for classification: max, or mean for schedules too short for max
    which:                network that gives CAM, features and predictions: teacher or student
    background_threshold: constant background score of the pseudo-labels, in [0, 1]
    refiner:              of the pseudo-labels where `labels.refinement` is neither gc nor par_gc
    """

    vit: VitConfig = VIT_BASE
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
        return part(NetworkConfig, self)

    def conflicts(self) -> Conflicts:
        """Of settings that have a part: those of a loss or refinement that is off may be anything."""
        weights, phases = self.weights, self.phases
        if self.which == "student" and not weights.distils:
            yield "which=student", "there is none without weights.similarity or weights.uncertain"
        if weights.classification == weights.patch_classification == 0:
            yield (
                "weights",
                "classification and patch_classification are 0, so nothing trains the classifier whose maps are the "
                "CAM; give one of them",
            )
        for term, acts, phase in (
            ("similarity", phases.warm_up > 0, "in the warm-up"),
            ("uncertain", phases.warm_up < 1, "after the warm-up"),
        ):
            if getattr(weights, term) > 0 and not acts:
                yield (
                    "weights",
                    f"weights.{term} acts {phase} alone, which phases.warm_up={phases.warm_up} leaves out; set "
                    f"weights.{term}=0, too, or another share",
                )
        if self.which == "student" and phases.warm_up == 1:
            yield (
                "which=student",
                "its classifier is the teacher's average, made after the warm-up; give phases.warm_up below 1",
            )
        if weights.distils and weights.segmentation > 0 and phases.segmentation < phases.warm_up:
            yield (
                "phases",
                f"segmentation={phases.segmentation} is before the end of warm_up={phases.warm_up}, whose CAMs are not "
                "to be corrected yet; give at least that",
            )
        if phases.contrast == 1 and (weights.patch_contrast > 0 or weights.class_contrast > 0):
            yield (
                "phases.contrast=1",
                "no iteration is left for weights.patch_contrast and weights.class_contrast; set these to 0, or another "
                "share",
            )
        if (
            weights.segmentation > 0
            and weights.auxiliary == 0
            and phases.auxiliary_labels > phases.segmentation
        ):
            yield (
                "phases",
                "auxiliary_labels would be of a classifier that weights.auxiliary=0 leaves untrained; set "
                "phases.auxiliary_labels=0",
            )
        ranges = {
            "contrast": weights.patch_contrast > 0 or weights.class_contrast > 0,
            "distillation": weights.uncertain > 0,
            "labels": self.labels.refines,
        }
        for name in (name for name, acts in ranges.items() if acts):
            for why in out_of_order(getattr(self, name)):
                yield name, why
        if weights.class_contrast > 0:
            local = self.class_contrast
            for why in crops_without_room(local.size, local.crops, self.train.recipe.crop):
                yield "class_contrast", why

    def training(self) -> SingleStageTrainingConfig:
        """The part that the training depends on: settings of a loss or refinement that is off are not in it."""
        weights, labels = self.weights, self.labels
        return part(
            SingleStageTrainingConfig,
            self,
            distillation=self.distillation if weights.distils else None,
            class_contrast=self.class_contrast if weights.class_contrast > 0 else None,
            correction=self.correction if labels.corrects else None,
        )


@dataclass(frozen=True)
class TocoConfig(SingleStageConfig):
    """ToCo (Ru et al., CVPR 2023): no student, class token contrast, pseudo-labels refined by PAR.

    network_checkpoint: a network of ToCo's code in place of the training
    """

    network_checkpoint: str | None = None
