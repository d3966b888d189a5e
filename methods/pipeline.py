"""The usual path after the CAM: refine -> pseudo_label -> segment -> predict."""

from __future__ import annotations

from methods.base import Shared, Stage
from methods.layers.config import SegmenterConfig
from methods.refiners import refiner_stages
from methods.refiners.config import RefinerConfig
from methods.segmenters import segmentation_stages


def stages_after_cam(
    cam: Stage, refiner: RefinerConfig, segmenter: SegmenterConfig, shared: Shared
) -> list[Stage]:
    """Stages from the CAM to predictions; the protocol's shared parts replace the method's own."""
    refined = refiner_stages(shared.refiner or refiner, cam)
    return [*refined, *segmentation_stages(shared.segmenter or segmenter, refined[-1].name)]
