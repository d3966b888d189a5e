"""Settings of WeCLIP, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Conflicts, Count, Natural, NotNegative, OneOf, Share, Within
from datasets.recipe import Recipe
from methods.base import MethodConfig, part
from methods.clip_es.config import COCO_PROMPTS, NANO_CLIP, NANO_PROMPTS, VIT_B16, VOC_PROMPTS
from methods.layers import presets
from methods.layers.clip.config import AffinityConfig, ClipConfig, PromptConfig
from methods.layers.clip.words import Texts
from methods.layers.config import CamInferenceConfig, CamStageConfig, CrfConfig, TrainConfig, TrainingConfig
from methods.refiners import refiner_at
from methods.refiners.config import RefinerConfig
from methods.toco.parts import TestConfig

DIFFERENCES = ("signed", "absolute")


@dataclass(frozen=True)
class WeclipDecoderConfig:
    """What learns: a fusion of the encoder's blocks, and a transformer on it.

    width: of the fusion and of the transformer; heads, blocks: of the transformer
    dropout: probability that a channel of the fusion is left out, in training
    """

    width: Count = 256
    heads: Count = 8
    blocks: Count = 3
    dropout: Annotated[float, Within(0, 1, below=True)] = 0.1

    def conflicts(self) -> Conflicts:
        if self.width % self.heads:
            yield "heads", f"={self.heads} does not divide width={self.width}"


@dataclass(frozen=True)
class CorrectionConfig:
    """RFM: the decoder's affinity corrects the attention that spreads the maps.

    start:  share of the iterations from which on it does, in [0, 1]
    blocks: last blocks among which attentions are kept
    difference: of an attention and the affinity: signed, as the code sums it, or absolute, as printed
    """

    start: Share = 0.305
    blocks: Count = 6
    difference: Annotated[str, OneOf(DIFFERENCES)] = "signed"


@dataclass(frozen=True)
class WeclipWeights:
    """Factors of the terms. segmentation: of the decoder; affinity: of the fusion's pairs"""

    segmentation: Annotated[float, Within(0, above=True)] = 1.0
    affinity: NotNegative = 0.1


@dataclass(frozen=True)
class WeclipNetworkConfig:
    """What inference has to know of the network."""

    clip: ClipConfig
    texts: Texts
    decoder: WeclipDecoderConfig
    affinity: AffinityConfig
    correction: CorrectionConfig

    @property
    def weights(self) -> str:
        """What the encoder is."""
        return self.clip.weights


@dataclass(frozen=True)
class WeclipTrainingConfig(TrainingConfig):
    """What the training depends on; see `WeclipConfig`."""

    weights: WeclipWeights
    radius: int
    par_iterations: int
    ignore_padding: bool


@dataclass(frozen=True, kw_only=True)
class WeclipCamConfig(CamStageConfig):
    """What the maps depend on, besides the trained network; correct: by the decoder's affinity."""

    correct: bool = True


@dataclass(frozen=True)
class PredictConfig:
    """What the predictions depend on, besides the weights. network: once more, since `predict` has this alone."""

    network: WeclipNetworkConfig
    test: TestConfig


@dataclass(frozen=True)
class WeclipConfig(MethodConfig):
    """WeCLIP (Zhang et al., CVPR 2024): a frozen CLIP is the backbone, and a decoder learns from its maps.

    affinity:   how attention spreads the maps before the correction, and boxes throughout
    radius:     rows and columns of patches within which pairs have a loss
    par_iterations: rounds of PAR on the labels that the decoder learns from
    ignore_padding: leave out labels of what lies outside an image; the code learns them
    background_threshold: constant background score of the maps, in [0, 1]
    """

    clip: ClipConfig = field(default_factory=lambda: replace(VIT_B16, normalise="imagenet"))
    text: PromptConfig = VOC_PROMPTS
    decoder: WeclipDecoderConfig = field(default_factory=WeclipDecoderConfig)
    affinity: AffinityConfig = field(default_factory=AffinityConfig)
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    weights: WeclipWeights = field(default_factory=WeclipWeights)
    radius: Natural = 8
    par_iterations: Natural = 20
    ignore_padding: bool = False
    train: TrainConfig = field(default_factory=TrainConfig)
    inference: CamInferenceConfig = field(default_factory=lambda: CamInferenceConfig((1.0,), False))
    background_threshold: Share = 0.5
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    test: TestConfig = field(default_factory=TestConfig)

    def training(self, texts: Texts) -> WeclipTrainingConfig:
        return part(WeclipTrainingConfig, self, network=part(WeclipNetworkConfig, self, texts=texts))


_TRAIN = TrainConfig(
    iterations=30000,
    batch_size=4,
    optimiser="adamw",
    learning_rate=2e-4,
    weight_decay=0.01,
    bias_multiplier=1.0,
    power=1.0,
    warmup=50,
    recipe=Recipe(crop=320, scale=(0.5, 2.0)),
)
_TEST = TestConfig((1.0, 0.75), True, CrfConfig(10, 3.0, 3.0, 64.0, 5.0, 4.0))
_NO_CRF = replace(_TEST, crf=None)

PRESETS = {
    "nano": WeclipConfig(
        NANO_CLIP,
        NANO_PROMPTS,
        WeclipDecoderConfig(64, 4, 2),
        AffinityConfig(blocks=4),  # of 6, as 8 of 12
        CorrectionConfig(blocks=3),
        radius=4,
        par_iterations=10,
        train=replace(
            presets.NANO_VIT_TRAIN, iterations=200, learning_rate=1e-3, head_multiplier=1.0, weight_decay=0.01
        ),
        inference=CamInferenceConfig((1.0,), False, 32),
        refiner=refiner_at("nano"),
        test=replace(_NO_CRF, scales=(1.0,), batch_size=32),
    ),
    "small": WeclipConfig(
        train=replace(_TRAIN, iterations=400, recipe=Recipe(crop=224, scale=(0.5, 1.0))),
        refiner=refiner_at("small"),
        test=_NO_CRF,
    ),
    "paper": WeclipConfig(train=_TRAIN, test=_TEST),
}
PRESETS[presets.COCO] = replace(
    PRESETS["paper"],
    text=COCO_PROMPTS,
    affinity=AffinityConfig(threshold=0.7),
    correction=CorrectionConfig(start=0.5, blocks=10),
    train=replace(_TRAIN, iterations=80000, batch_size=8),
    refiner=refiner_at(presets.COCO),
)
