"""Settings of single-stage methods, ToCo and what builds on it: one network, one training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import AtOnce, Conflicts, Count, OneOf, Share, out_of_order
from datasets.recipe import ColoursOnly, View
from methods.base import MethodConfig, part
from methods.layers.config import (
    CamInferenceConfig,
    TrainConfig,
    TrainingConfig,
    VitConfig,
    crops_without_room,
)
from methods.layers.presets import VIT_BASE
from methods.refiners.config import RefinerConfig
from methods.refiners.gc.config import CorrectionConfig
from methods.toco.parts import (
    ClassContrastConfig,
    ContrastConfig,
    DecoderConfig,
    DistillationConfig,
    LabelConfig,
    LossWeights,
    PhaseConfig,
    TestConfig,
)

NETWORKS = ("teacher", "student")
POOLINGS = ("max", "mean")


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
    batch_size: AtOnce
    par: tuple[float, float] | None = None


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
