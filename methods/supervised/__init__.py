"""The upper bound: the same segmentation network, trained on true masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from datasets.base import TrainingView
from methods.base import Kind, Method, MethodConfig, Shared, Stage, Supervision
from methods.layers.config import SegmenterConfig
from methods.segmenters import (
    MASKS,
    SEGMENTERS,
    check_init,
    checkpoint_stage,
    masks_seen,
    predict_stage,
    training_deviations,
)


@dataclass(frozen=True)
class SupervisedConfig(MethodConfig):
    """segmenter: the scale's segmentation network, as every method trains it on its pseudo-labels."""

    segmenter: SegmenterConfig = field(default_factory=lambda: SEGMENTERS["paper"])


class Supervised(Method):
    """Segmentation network trained on the true masks of the training images."""

    name = "supervised"
    title = "Supervised (bound)"
    paper = "Chen et al., DeepLab, TPAMI 2018"
    summary = "the segmentation network trained on true masks: the upper bound"
    needs = "true masks of the training images"
    supervision = frozenset({Supervision.MASKS})
    default = True
    config = SupervisedConfig
    presets = {scale: SupervisedConfig(segmenter) for scale, segmenter in SEGMENTERS.items()}  # noqa: RUF012

    def stages(self, config: SupervisedConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        segmenter = shared.segmenter or config.segmenter
        check_init(segmenter)
        if segmenter.network_checkpoint is not None:
            return [checkpoint_stage(segmenter, MASKS), predict_stage(segmenter)]
        segment = Stage(
            "segment",
            "methods.supervised.stages:segment",
            segmenter,
            Kind.WEIGHTS,
            pretrained=(segmenter.backbone.weights,),
            seen_masks=masks_seen(segmenter),
            profile="methods.segmenters.profile:segment",
            deviations=training_deviations(segmenter),
        )
        return [segment, predict_stage(segmenter)]


METHOD = Supervised()
