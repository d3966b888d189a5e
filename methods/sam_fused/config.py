"""Settings of the SAM-fused pseudo-labels, and their presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import (
    AtOnce,
    Conflicts,
    Count,
    Factors,
    MultipleOf,
    Natural,
    NotEmpty,
    NotNegative,
    OneOf,
    Positive,
    Share,
    Within,
    out_of_order,
)
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers.config import (
    CamInferenceConfig,
    SegmenterConfig,
    TrainConfig,
    TrainingConfig,
    VitConfig,
    crops_without_room,
)
from methods.layers.presets import NANO_VIT, NANO_VIT_TRAIN, SMALL_VIT, VIT_BASE
from methods.layers.sam.config import NANO, SamConfig
from methods.segmenters import SEGMENTERS

TOKENS = ("present", "all")
FUSED_BY = ("network", "intersection", "union", "mean", "segments")
LEARNED = ("agreement", "sam", "reliable", "both")


@dataclass(frozen=True)
class ContrastConfig:
    """Class token contrast (CTC, Eq. 2), with ToCo's values where the paper has none.

    weight:       of its loss; 0 leaves it out, and the auxiliary classifier with it
    auxiliary_weight: of the auxiliary classifier's loss
    low, high:    L and H: an auxiliary CAM up to `low` is background, from `high` on foreground, between not salient
    auxiliary_layer: whose patch tokens the auxiliary CAM is made of, counted from the last, which is 1
    crops, size:  number and side of the local crops, sides multiples of the patch
    negative_below: region score (0 background, 1 not salient, 2 foreground, mean over the crop) up to which a crop
                  is of the background
    token:        "present": the mean of the present classes' tokens is contrasted; "all": of all C
    temperature:  τ; momentum: of the moving average that projects the whole image; outputs: width of the projections
    """

    weight: NotNegative = 0.5
    auxiliary_weight: Positive = 1.0
    low: Share = 0.25
    high: Share = 0.70
    auxiliary_layer: Count = 3
    crops: Count = 8
    size: Count = 96
    negative_below: Annotated[float, Within(0, 2)] = 0.2
    token: Annotated[str, OneOf(TOKENS)] = "present"
    temperature: Positive = 0.5
    momentum: Share = 0.9
    outputs: Count = 1024

    def conflicts(self) -> Conflicts:
        for why in out_of_order(self, equal=False):
            yield "", why


@dataclass(frozen=True)
class PromptConfig:
    """SAM's prompts from the CAM of P1, whose maximum in each class is 1.

    foreground: CAM from which on a pixel is confident, in [0, 1]; background: below which it is confident background
    positives, negatives: most points of a prompt
    smallest_region: area of a confident region, as a share of the largest one's, from which on it is given a point
    """

    foreground: Share = 0.7
    background: Share = 0.1
    positives: Count = 3
    negatives: Natural = 3
    smallest_region: Share = 0.1

    def conflicts(self) -> Conflicts:
        for why in out_of_order(self, "background", "foreground"):
            yield "", why


@dataclass(frozen=True)
class ViewConfig:
    """Augmented copies of an image (Sec. 2.3). All images have the same ones.

    mirror:    left and right exchanged
    rotations: degrees, multiples of 90; 360 is 0
    scales:    of the views to one another
    fills:     the scale that fills SAM's frame, others as much less of it; null: the largest of `scales`
    count:     K, how many of all combinations: the image itself and random others; null: all
    frames:    most of SAM's frames at once
    """

    mirror: bool = True
    rotations: Annotated[tuple[Annotated[int, MultipleOf(90)], ...], NotEmpty()] = (90, 180, 270, 360)
    scales: Factors = (0.5, 1.0, 2.0)
    fills: Positive | None = None
    count: Count | None = 8
    frames: Count = 8

    @property
    def largest(self) -> float:
        """The scale that fills the frame, whichever views are drawn."""
        return self.fills or max(self.scales)

    def conflicts(self) -> Conflicts:
        if self.fills is not None and self.fills < max(self.scales):
            yield (
                f"fills={self.fills}",
                f"the view of scale {max(self.scales)} would not fit into SAM's frame; give that, more, or null",
            )


@dataclass(frozen=True)
class FusionConfig:
    """How P1 and P2 are fused (Sec. 2.4; README, "Readings of the fusion").

    by:     "network", or a rule without one: "intersection", where both have the class; "union", where either has it,
            P2's first; "mean", where CAM and mean mask together exceed both their thresholds; "segments", P2's
            connected regions of which half lies in P1, and P1 of a class that has none
    learns: the network's labels. "agreement": the one that P1 and P2 both give, none where they differ; "sam": P2's;
            "reliable": P2's where SAM's views agree, P1's where they do not, in shares; "both": each counts
    weighted: whether P2's labels are weighted by 1 - Ẽ / log 2 (Eq. 4)
    sees:   "maps", CAMs and mean masks; "labels", those of P1 and P2. picture: whether it sees the image too
    width, layers: of its 3x3 convolutions before the last, which is 1x1
    train:  `recipe.crop` is the side of the squares it learns from; of the recipe nothing else applies
    """

    by: Annotated[str, OneOf(FUSED_BY)] = "network"
    learns: Annotated[str, OneOf(LEARNED)] = "agreement"
    weighted: bool = True
    sees: Annotated[str, OneOf(("maps", "labels"))] = "maps"
    picture: bool = False
    width: Count = 32
    layers: Count = 3
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            iterations=2000,
            batch_size=8,
            optimiser="adamw",
            learning_rate=1e-3,
            weight_decay=1e-3,
            head_multiplier=1.0,
            bias_multiplier=1.0,
            warmup=20,
            recipe=Recipe(crop=256),
        )
    )


@dataclass(frozen=True)
class ContrastedTrainingConfig(TrainingConfig):
    """What the training of P1 depends on; contrast: None where its weight is 0."""

    contrast: ContrastConfig | None


@dataclass(frozen=True)
class MaskStageConfig:
    """What SAM's masks depend on, besides the CAM."""

    sam: SamConfig
    prompts: PromptConfig
    views: ViewConfig
    batch_size: AtOnce


@dataclass(frozen=True)
class FusionStageConfig:
    """What the fusion depends on, besides P1's CAMs and SAM's masks; thresholds as in `SamFusedConfig`."""

    fusion: FusionConfig
    background_threshold: float
    mask_threshold: float


@dataclass(frozen=True)
class RuleConfig:
    """What a fusion by rule depends on; by: as in `FusionConfig`, thresholds as in `SamFusedConfig`."""

    by: str
    background_threshold: float
    mask_threshold: float


@dataclass(frozen=True)
class SamFusedConfig(MethodConfig):
    """SAM-fused pseudo-labels (Liu, Intelligent Computer and Applications 15(10), 2025).

    background_threshold: constant background score of P1, in [0, 1]
    mask_threshold: share of the views whose masks make a pixel one of P2, in [0, 1]
    mask_batch_size: images of equal size whose prompts are decoded together
    """

    vit: VitConfig = VIT_BASE
    train: TrainConfig = field(default_factory=TrainConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    inference: CamInferenceConfig = field(default_factory=lambda: CamInferenceConfig((1.0,), batch_size=8))
    background_threshold: Share = 0.4
    sam: SamConfig = field(default_factory=SamConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    mask_threshold: Share = 0.5
    mask_batch_size: AtOnce = 4
    fusion: FusionConfig = field(default_factory=FusionConfig)
    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])

    def conflicts(self) -> Conflicts:
        contrast, frames = self.contrast, self.views.frames
        if contrast.weight > 0:
            for why in crops_without_room(contrast.size, contrast.crops, self.train.recipe.crop):
                yield "contrast", why
        if self.mask_batch_size > frames:
            yield (
                "mask_batch_size",
                f"a batch of mask_batch_size={self.mask_batch_size} images is more than views.frames={frames}, the most "
                "that SAM is given at once; give less of the one or more of the other",
            )


_NANO_FUSION = FusionConfig()
_NANO_SAM = SamConfig(NANO, "nano/sam")

PRESETS = {
    "nano": SamFusedConfig(
        NANO_VIT,
        NANO_VIT_TRAIN,
        ContrastConfig(auxiliary_weight=0.1, crops=4, size=32, outputs=96),
        CamInferenceConfig(scales=(1.25,), batch_size=32),
        background_threshold=0.45,
        sam=_NANO_SAM,
        views=ViewConfig(count=4, frames=64),
        mask_threshold=0.2,
        mask_batch_size=16,
        fusion=FusionConfig(
            width=16,
            train=replace(
                _NANO_FUSION.train,
                iterations=300,
                batch_size=16,
                learning_rate=5e-3,
                warmup=10,
                recipe=Recipe(crop=64),
            ),
        ),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": SamFusedConfig(
        SMALL_VIT,
        TrainConfig(
            iterations=400,
            batch_size=12,
            optimiser="adamw",
            learning_rate=6e-5,
            weight_decay=1e-3,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            schedule="cosine",
            warmup=40,
            recipe=Recipe(crop=168, resize_crop=(0.3, 1.0), brightness=0.4, contrast=0.4, saturation=0.4),
        ),
        ContrastConfig(crops=4, size=56, outputs=512),
        CamInferenceConfig(scales=(1.0,), batch_size=4),
        sam=_NANO_SAM,
        views=ViewConfig(frames=1),
        mask_batch_size=1,
        fusion=FusionConfig(
            train=replace(_NANO_FUSION.train, iterations=200, learning_rate=3e-3, recipe=Recipe(crop=160))
        ),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": SamFusedConfig(
        train=TrainConfig(
            iterations=6000,
            batch_size=8,
            optimiser="adamw",
            learning_rate=6e-5,
            weight_decay=1e-3,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            schedule="poly",
            warmup=300,
            recipe=Recipe(crop=448, resize_crop=(0.32, 1.0)),
        ),
        contrast=ContrastConfig(crops=8),
    ),
}
"""small: the miniature SAM, which covers generated pictures only; photographs need `sam.name` and `sam.weights`."""
PRESETS["paper/bluefilm"] = PRESETS["paper"]
"""The paper's only data, which its schedule is of."""
