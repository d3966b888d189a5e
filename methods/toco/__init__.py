"""ToCo: token contrast for single-stage weakly supervised segmentation (Ru et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision
from methods.dskd_gc import single_stage
from methods.layers.weights.released import released_stage
from methods.toco.config import PRESETS, TocoConfig
from methods.unified import from_imagenet


class Toco(Method):
    """One training -> CAM -> labels; its decoder predicts."""

    name = "toco"
    title = "ToCo"
    paper = "Ru et al., Token Contrast for Weakly-Supervised Semantic Segmentation, CVPR 2023"
    summary = "single-stage: contrast of patch tokens and of class tokens"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    config = TocoConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    reported_as = "ToCo"

    def stages(self, config: TocoConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        stages = single_stage(self.name, config, shared)
        if config.network_checkpoint is None:
            return stages
        run = "methods.toco.stages:released"
        released = released_stage(stages[0].name, run, config.network_checkpoint, config.network)
        return [released, *stages[1:]]


METHOD = Toco()
