"""A method of one file: its CAM of every present class is a bump in the middle of the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from datasets.limits import Positive
from methods.base import Kind, Method, MethodConfig, Shared, Stage, Supervision
from methods.layers.config import SegmenterConfig
from methods.pipeline import stages_after_cam
from methods.refiners.config import RefinerConfig
from methods.segmenters import SEGMENTERS


@dataclass(frozen=True)
class Bump:
    """A Gaussian in the middle of the image.

    width: its standard deviation, as a share of the image's sides
    """

    width: Positive = 0.25


@dataclass(frozen=True)
class CentrePriorConfig(MethodConfig):
    """All settings; those of the CAM are a part of their own, since they alone make the CAM's key."""

    bump: Bump = field(default_factory=Bump)
    refiner: RefinerConfig = field(default_factory=RefinerConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)


class CentrePrior(Method):
    name = "centre_prior"
    title = "Centre prior"
    paper = "none"
    summary = "objects are in the middle"
    needs = "image labels"
    supervision = frozenset({Supervision.LABELS})
    config = CentrePriorConfig
    presets = {scale: CentrePriorConfig(segmenter=SEGMENTERS[scale]) for scale in ("nano", "small", "paper")}  # noqa: RUF012

    def stages(self, config: Any, view: Any, shared: Shared) -> list[Stage]:
        cam = Stage("cam", f"{__name__}:cam", config.bump, Kind.CAM, seeded=False, fixed_threshold=0.5)
        return [cam, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


def cam(context: Any, settings: Bump) -> None:
    """Write the CAM of each training image, at an eighth of its size."""
    import numpy as np

    from datasets.files.images import image_size
    from methods.artifacts import Cam, write_cams

    for name, samples in context.shards(context.view.samples("train")):
        cams = {}
        for sample in samples:
            size = image_size(sample.image)
            rows, columns = (np.linspace(-0.5, 0.5, max(1, side // 8)) ** 2 for side in size)
            bump = np.exp(-(rows[:, None] + columns) / (2 * settings.width**2))
            cams[sample.id] = Cam(np.stack([bump] * len(sample.labels)), sample.labels, size)
            context.advance(1)
        write_cams(context.output / f"{name}.safetensors", cams)


METHOD = CentrePrior()
