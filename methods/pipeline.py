"""What methods' graphs have in common: the path after the CAM, and the assessment of the classifier before it."""

from __future__ import annotations

from typing import Any

from methods.base import Kind, Shared, Stage
from methods.layers.config import SegmenterConfig
from methods.refiners import refiner_stages
from methods.refiners.config import RefinerConfig
from methods.segmenters import segmentation_stages


def stages_after_cam(
    cam: Stage, refiner: RefinerConfig, segmenter: SegmenterConfig, shared: Shared
) -> list[Stage]:
    """refine -> pseudo_label -> segment -> predict; the protocol's shared parts replace the method's own."""
    refined = refiner_stages(shared.refiner or refiner, cam)
    return [*refined, *segmentation_stages(shared.segmenter or segmenter, refined[-1].name)]


def image_scores_stage(run: str, settings: Any, weights: Stage) -> Stage:
    """The classifier's scores of the validation images.

    run: function; settings: of the network, e.g. those of the CAM stage; weights: the stage that trains the classifier
    """
    return Stage(
        "image_scores",
        run,
        settings,
        Kind.IMAGE_SCORES,
        inputs={"weights": weights.name},
        splits=("val",),
        seeded=False,
    )
