"""Settings of SEAM, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Share, Within
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers import presets
from methods.layers.config import (
    BackboneConfig,
    CamInferenceConfig,
    CrfConfig,
    SegmenterConfig,
    TrainConfig,
    TrainingConfig,
)
from methods.refiners import IRN, PSA
from methods.refiners.config import RefinerConfig
from methods.refiners.psa.config import PsaConfig
from methods.segmenters import SEGMENTERS

Open = Annotated[float, Within(0, 1, below=True)]


@dataclass(frozen=True)
class SeamTrainingConfig(TrainingConfig):
    """What the training depends on; see `SeamConfig`."""

    small_view: float = field(kw_only=True)
    hard_share: float = field(kw_only=True)
    dropout: float = field(kw_only=True)


@dataclass(frozen=True)
class SeamConfig(MethodConfig):
    """SEAM (Wang et al., CVPR 2020).

    small_view: side of the second view, as a fraction of the training crop
    hard_share: fraction of the largest differences that equivariant cross regularisation is over
    dropout:    probability of dropping a channel of the features before the classifier, in training
    background_threshold: constant background score of the CAM, in [0, 1]
    classifier_checkpoint: a network of SEAM's code in place of the training
    """

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    inference: CamInferenceConfig = field(default_factory=CamInferenceConfig)
    small_view: Annotated[float, Within(0.05, 1)] = 0.3
    hard_share: Annotated[float, Within(0.01, 1)] = 0.2
    dropout: Open = 0.5
    background_threshold: Share = 0.26
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])
    classifier_checkpoint: str | None = None


def seam_psa(psa: PsaConfig, key: str) -> RefinerConfig:
    """PSA as SEAM runs it: other powers of the background, and a shorter walk; crf: with a power of 4.

    key: of the preset, for those who choose IRN instead
    """
    psa = replace(psa, label_powers=(4.0, 24.0), background_power=6.0, logt=min(psa.logt, 6))
    return RefinerConfig("psa", crf_background_power=4.0, psa=psa, irn=IRN[key])


_PSA = PSA["paper"]

PRESETS = {
    "nano": SeamConfig(
        presets.NANO_BACKBONE,
        replace(presets.NANO_TRAIN, learning_rate=4e-3),
        presets.NANO_INFERENCE,
        small_view=0.5,
        dropout=0.0,
        background_threshold=0.20,
        refiner=seam_psa(PSA["nano"], "nano"),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": SeamConfig(
        presets.SMALL_BACKBONE,
        presets.SMALL_TRAIN,
        presets.SMALL_INFERENCE,
        small_view=0.5,
        dropout=0.0,
        refiner=seam_psa(PSA["small"], "small"),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": SeamConfig(
        presets.RESNET38D,
        replace(
            presets.PAPER_TRAIN,
            iterations=8 * (presets.VOC_IMAGES // 8),
            recipe=replace(presets.PAPER_TRAIN.recipe, resize_long=(448, 768)),
        ),
        CamInferenceConfig(batch_size=1),
        refiner=seam_psa(
            replace(
                _PSA,
                backbone=presets.RESNET38D,
                init="imagenet",
                train=replace(_PSA.train, learning_rate=0.01),
            ),
            "paper",
        ),
        segmenter=replace(
            SEGMENTERS["paper"],
            backbone=replace(presets.RESNET38D, frozen_stages=0, freeze_bn=False),
            head="largefov_resnet38d",
            head_norm=True,
            train=TrainConfig(
                iterations=20000,
                batch_size=10,
                learning_rate=0.001,
                momentum=0.9,
                weight_decay=5e-4,
                head_multiplier=10.0,
                recipe=Recipe(crop=448, scale=(0.5, 1.5), brightness=0.04, saturation=0.04, hue=0.056),
            ),
            loss_scales=(),
            test_scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
            test_crf=CrfConfig(1, 3.0, 3.0, 32.0, 13.0, 10.0),
        ),
    ),
}
"""paper: VOC's; SEAM has no settings for another data set."""
