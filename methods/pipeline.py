"""What methods' graphs have in common: a CAM network's stages, and the path from its CAM to a segmentation network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from methods.base import Kind, NotRunnable, Shared, Stage
from methods.layers.config import (
    CamInferenceConfig,
    CamStageConfig,
    ScoresConfig,
    SegmenterConfig,
    TrainingConfig,
)
from methods.layers.weights.released import released_stage
from methods.refiners import refiner_stages
from methods.refiners.config import RefinerConfig
from methods.segmenters import segmentation_stages


def classify_stage(
    network: str,
    settings: TrainingConfig,
    checkpoint: str | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Stage:
    """The stage `classify`: the training, or a released checkpoint in its place.

    network: "package.module:Class" of a `methods.layers.cam_network.CamClassifier`
    """
    if checkpoint is not None:
        return released_stage("classify", f"{network}.released", checkpoint, settings.network)
    return Stage(
        "classify",
        f"{network}.classify",
        settings,
        Kind.WEIGHTS,
        inputs=inputs or {},
        pretrained=(settings.network.weights,),
        profile=f"{network}.profile_classify",
    )


def cam_stages(
    network: str, weights: Stage, config: Any, shared: Shared, settings: CamStageConfig | None = None
) -> list[Stage]:
    """cam -> image_scores, of the network that stage `weights` yields.

    network: "package.module:Class" of a `methods.layers.cam_network.CamNetwork`
    config:  a method's, with `inference` and `background_threshold`; the protocol may replace the former
    settings: of the CAM stage where it has more than `inference`
    """
    settings = replace(
        settings or CamStageConfig(inference=config.inference), inference=shared.inference or config.inference
    )
    cam = Stage(
        "cam",
        f"{network}.cam",
        settings,
        Kind.CAM,
        inputs={"weights": weights.name},
        seeded=False,
        fixed_threshold=config.background_threshold,
        profile=f"{network}.profile_cam",
    )
    return [cam, image_scores_stage(network, weights, settings.inference, settings.trained)]


def image_scores_stage(
    network: str, weights: Stage, inference: CamInferenceConfig, trained: str = "network"
) -> Stage:
    """The classifier's scores of the validation images; trained: see `CamStageConfig`."""
    return Stage(
        "image_scores",
        f"{network}.image_scores",
        ScoresConfig(inference.batch_size, trained, inference.tiles),
        Kind.IMAGE_SCORES,
        inputs={"weights": weights.name},
        splits=("val",),
        seeded=False,
    )


def require_whole_images(method: str, config: Any, shared: Shared) -> None:
    """Of a method that takes maxima or means over the image inside its network. Raises NotRunnable where tiles are set.

    config: with `inference`, which the protocol may replace
    """
    part = "protocol" if shared.inference else f"method.{method}"
    if side := (shared.inference or config.inference).tiles.side:
        raise NotRunnable(
            f"{part}.inference.tiles.side={side}: {method}'s maps take maxima or means over the image, which "
            f"a tile does not know; set {part}.inference.tiles.side=0, and dataset.longest_side for large images"
        )


def stages_after_cam(
    cam: Stage, refiner: RefinerConfig, segmenter: SegmenterConfig, shared: Shared
) -> list[Stage]:
    """refine -> pseudo_label -> segment -> predict; the protocol's shared parts replace the method's own."""
    refined = refiner_stages(shared.refiner or refiner, cam)
    return [*refined, *segmentation_stages(shared.segmenter or segmenter, refined[-1].name)]
