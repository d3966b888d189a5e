"""Settings of CA-CL, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Conflicts, NotNegative, OneOf, Positive, Similarity, Within, out_of_order
from methods.clims.config import (
    CLIMS_TRAIN,
    NANO_CLIP,
    NANO_GUIDED,
    RESNET50,
    RESNET50_CLASSIFIER,
    SMALL_GUIDED,
    GuidedConfig,
    GuidedTrainingConfig,
)
from methods.layers.config import TrainConfig
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
from methods.refiners import IRN, refiner_at
from methods.refiners.config import RefinerConfig
from methods.segmenters import DEEPLAB_V2_COCO, DEEPLAB_V2_IMAGENET, SEGMENTERS

GATES = ("straight_through", "sigmoid")
REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class LossWeights:
    """Factors of Eq. 14.

    contrast: α, of the image-text contrast
    suppression: β, of the background suppression; 0 leaves it out, and the background words with it
    area: γ, of the area regularisation
    """

    contrast: NotNegative = 40.0
    suppression: NotNegative = 1.0
    area: NotNegative = 0.4


@dataclass(frozen=True)
class SuppressionConfig:
    """The threshold θ of CSBS (Eq. 10, 11) and its loss.

    initial:       θ at the start, a similarity in [-1, 1] (the paper gives none; CLIMS's fixed one is .26)
    learned:       whether θ follows the gradient (Eq. 11)
    per_class:     whether every class has a θ of its own, which learns from its words alone
    learning_rate: η of Eq. 11, under the training's schedule. AdamW moves θ by at most about this times the schedule's
                   factor an iteration, whatever the gradient; SGD by that times the gradient (README)
    lower, upper:  bounds that θ is kept in: the loss falls as θ rises, so nothing else ends its rise
    gate, steepness: surrogate of the 0/1 gate's gradient (`losses.background_suppression`)
    reduction:     of the loss over a batch: "sum" or "mean" over its images
    """

    initial: Similarity = 0.26
    learned: bool = True
    per_class: bool = False
    learning_rate: NotNegative = 1e-8
    lower: Similarity = 0.2
    upper: Similarity = 0.3
    gate: Annotated[str, OneOf(GATES)] = "straight_through"
    steepness: Positive = 50.0
    reduction: Annotated[str, OneOf(REDUCTIONS)] = "sum"

    def conflicts(self) -> Conflicts:
        for low, high in (("lower", "initial"), ("initial", "upper")):
            for why in out_of_order(self, low, high):
                yield "", why


@dataclass(frozen=True)
class CaClConfig(GuidedConfig):
    """CA-CL (Bai et al., Acta Electronica Sinica 2025).

    weights:     of the losses (Eq. 14)
    margin:      of L_ITC (Eq. 6), a difference of similarities
    suppression: CSBS; weights.suppression=0 leaves it out
    """

    weights: LossWeights = field(default_factory=LossWeights)
    margin: Annotated[float, Within(0, 2)] = 0.5
    suppression: SuppressionConfig = field(default_factory=SuppressionConfig)


@dataclass(frozen=True)
class CaClTrainingConfig(GuidedTrainingConfig):
    """What the guided training depends on; see `CaClConfig`."""

    weights: LossWeights
    margin: float
    suppression: SuppressionConfig


CA_CL_TRAIN = replace(CLIMS_TRAIN, iterations=20 * (VOC_IMAGES // 16), schedule="cosine")


def _cosine(train: TrainConfig) -> TrainConfig:
    return replace(train, schedule="cosine")


PRESETS = {
    "nano": CaClConfig(
        NANO_BACKBONE,
        NANO_CLIP,
        classifier=NANO_TRAIN,
        train=_cosine(NANO_GUIDED),
        inference=NANO_INFERENCE,
        # The miniature's cosines are larger: .3 for an object and its own context, .45 for the context itself.
        # A sum over a batch's images and texts outweighs the contrast in a training this short.
        suppression=SuppressionConfig(
            initial=0.4, lower=0.35, upper=0.45, learning_rate=2e-4, reduction="mean"
        ),
        background_threshold=0.25,
        refiner=refiner_at("nano", "irn"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": CaClConfig(
        SMALL_BACKBONE,
        classifier=SMALL_TRAIN,
        train=_cosine(SMALL_GUIDED),
        inference=SMALL_INFERENCE,
        suppression=SuppressionConfig(learning_rate=2e-4),
        refiner=refiner_at("small", "irn"),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": CaClConfig(
        RESNET50,
        classifier=RESNET50_CLASSIFIER,
        classifier_fixed_statistics=True,
        train=CA_CL_TRAIN,
        refiner=RefinerConfig("irn", irn=IRN["paper"]),
        segmenter=DEEPLAB_V2_COCO,
    ),
}
PRESETS[COCO] = replace(
    PRESETS["paper"],
    classifier=replace(RESNET50_CLASSIFIER, iterations=5 * (COCO_IMAGES // 16)),
    train=replace(CA_CL_TRAIN, iterations=20 * (COCO_IMAGES // 16)),
    # Eight times the iterations, each with twice the pairs of an image and a class.
    suppression=SuppressionConfig(learning_rate=1e-9),
    refiner=refiner_at(COCO, "irn"),
    segmenter=DEEPLAB_V2_IMAGENET,
)
