"""Settings of MCTformer, and its presets by scale."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from datasets.limits import Count, OneOf, Share
from datasets.recipe import Recipe
from methods.base import MethodConfig
from methods.layers.config import (
    CamInferenceConfig,
    CamStageConfig,
    CrfConfig,
    SegmenterConfig,
    TrainConfig,
    VitConfig,
)
from methods.layers.presets import (
    COCO,
    COCO_IMAGES,
    NANO_VIT,
    NANO_VIT_TRAIN,
    RESNET38D,
    SMALL_VIT,
    VOC_IMAGES,
)
from methods.refiners import IRN, PSA, mctformer_psa
from methods.refiners.config import RefinerConfig
from methods.refiners.psa.config import PsaConfig
from methods.segmenters import SEGMENTERS

INTERMEDIATE = ("original", "affinity", "modulated")
"""Stages of the CAM's refinement before the last; see `methods.mctformer.cam.CamStages`."""
SIDES = ("left", "right")


@dataclass(frozen=True)
class AttentionConfig:
    """How the transformer's attention refines the CAM.

    class_to_patch_layers, patch_to_patch_layers: number of last layers that are summed; null: all
    patch_to_patch_side: "left": p2p @ CAM, each patch gathers by its own attention (MCTformer's code);
                         "right": CAM @ p2p, as Eq. 6 is printed
    rectify: ReLU on the original CAM before Eq. 5 (MCTformer's)
    """

    class_to_patch_layers: Count | None = 3
    patch_to_patch_layers: Count | None = None
    patch_to_patch_side: Annotated[str, OneOf(SIDES)] = "left"
    rectify: bool = True


@dataclass(frozen=True, kw_only=True)
class AttendedCamConfig(CamStageConfig):
    """What CAM inference depends on, besides the trained network; see `MctformerConfig`."""

    attention: AttentionConfig
    intermediate: tuple[str, ...]


@dataclass(frozen=True)
class PartConfig:
    """name: which intermediate CAM of a CAM artifact."""

    name: str


@dataclass(frozen=True)
class MctformerConfig(MethodConfig):
    """MCTformer-V2 (Xu et al., CVPR 2022).

    intermediate: CAMs before the final one that are written and scored too: original, affinity, modulated
    background_threshold: constant background score of the pseudo-labels, in [0, 1]
    classifier_checkpoint: a network of MCTformer's code (V2) in place of the training
    """

    vit: VitConfig = field(default_factory=VitConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    inference: CamInferenceConfig = field(default_factory=lambda: CamInferenceConfig(scales=(1.0,)))
    intermediate: tuple[Annotated[str, OneOf(INTERMEDIATE)], ...] = ("original", "modulated")
    background_threshold: Share = 0.40
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    classifier_checkpoint: str | None = None


def _affinity(images: int) -> PsaConfig:
    """PSA's network as MCTformer trains it: 5 epochs at .01, where PSA itself has 8 at .1."""
    psa = PSA["paper"]
    return replace(psa, train=replace(psa.train, iterations=5 * (images // 8), learning_rate=0.01))


def _tighter(psa: PsaConfig) -> PsaConfig:
    """With the CRF of MCTformer's segmentation test under the labels; at paper scale they have PSA's, as in its code."""
    size = psa.crf.bilateral_sxy * 83 / 80  # miniature pictures have smaller kernels
    crf = replace(psa.crf, gaussian_sxy=4.0, bilateral_sxy=size, bilateral_srgb=5.0, bilateral_compat=3.0)
    return replace(psa, crf=crf)


PRESETS = {
    "nano": MctformerConfig(
        NANO_VIT,
        NANO_VIT_TRAIN,
        AttentionConfig(patch_to_patch_side="right"),
        CamInferenceConfig(scales=(1.0,), batch_size=32),
        background_threshold=0.45,
        refiner=mctformer_psa(_tighter(PSA["nano"]), IRN["nano"]),
        segmenter=SEGMENTERS["nano"],
    ),
    "small": MctformerConfig(
        SMALL_VIT,
        TrainConfig(
            iterations=500,
            batch_size=16,
            optimiser="adamw",
            learning_rate=1e-4,
            weight_decay=0.05,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            schedule="cosine",
            warmup=20,
            recipe=Recipe(crop=168, resize_crop=(0.3, 1.0), brightness=0.4, contrast=0.4, saturation=0.4),
        ),
        inference=CamInferenceConfig(scales=(1.0,), batch_size=4),
        refiner=mctformer_psa(_tighter(PSA["small"]), IRN["small"]),
        segmenter=SEGMENTERS["small"],
    ),
    "paper": MctformerConfig(
        VitConfig("timm/deit_small_patch16_224", "timm/deit_small_patch16_224", drop_path=0.1),
        TrainConfig(
            iterations=60 * (VOC_IMAGES // 64),
            batch_size=64,
            optimiser="adamw",
            learning_rate=5e-4 * 64 / 512,
            weight_decay=0.05,
            head_multiplier=1.0,
            bias_multiplier=1.0,
            schedule="cosine",
            floor=0.16,
            warmup=5 * (VOC_IMAGES // 64),
            recipe=Recipe(crop=224, resize_crop=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4),
        ),
        inference=CamInferenceConfig(scales=(1.0,), batch_size=16),
        background_threshold=0.39,
        refiner=mctformer_psa(_affinity(VOC_IMAGES), IRN["paper"]),
        segmenter=replace(
            SEGMENTERS["paper"],
            backbone=replace(RESNET38D, frozen_stages=1),
            head="largefov_resnet38d",
            train=TrainConfig(
                iterations=30 * (VOC_IMAGES // 4),
                batch_size=4,
                learning_rate=7e-4,
                momentum=1e-5,
                weight_decay=0.0,
                head_multiplier=10.0,
                bias_multiplier=1.0,
                recipe=Recipe(crop=321, scale=(0.7, 1.3)),
            ),
            loss_scales=(),
            test_flip=False,
            test_crf=CrfConfig(10, 4.0, 3.0, 83.0, 5.0, 3.0),
            padding_is_background=True,
        ),
    ),
}
_PAPER = PRESETS["paper"]
PRESETS[COCO] = replace(
    _PAPER,
    train=replace(_PAPER.train, iterations=60 * (COCO_IMAGES // 64), warmup=5 * (COCO_IMAGES // 64)),
    refiner=mctformer_psa(_affinity(COCO_IMAGES), IRN[COCO]),
    segmenter=replace(
        _PAPER.segmenter, train=replace(_PAPER.segmenter.train, iterations=30 * (COCO_IMAGES // 4))
    ),
)
