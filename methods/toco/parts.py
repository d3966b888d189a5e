"""Settings of the parts of a single-stage network and its training: losses, phases, contrasts, labels, decoder, test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from datasets.limits import AtOnce, Count, Factor, Factors, NotNegative, OneOf, Positive, Share
from datasets.recipe import Recipe
from methods.layers.config import CrfConfig, Tiles, TilesConfig

REFINEMENTS = ("none", "par", "gc", "par_gc")
AVERAGES = ("conventional", "literal")
AXES = ("channels", "tokens")
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
class TestConfig:
    """Inference of the decoder.

    scales: factors on the image's size; flip: add the mirrored image
    crf: dense CRF on the scores; null: none
    batch_size: images of equal size, or tiles, at once
    """

    scales: Factors = (1.0, 1.25, 1.5)
    flip: bool = True
    crf: CrfConfig | None = field(default_factory=lambda: CrfConfig(10, 1.0, 1.0, 121.0, 5.0, 4.0))
    batch_size: AtOnce = 4
    tiles: Tiles = field(default_factory=TilesConfig)
