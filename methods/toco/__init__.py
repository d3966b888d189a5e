"""ToCo: token contrast for single-stage weakly supervised segmentation (Ru et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision
from methods.toco.config import TocoConfig
from methods.toco.graph import single_stage
from methods.toco.presets import PRESETS
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
        return single_stage(self.name, config, shared, config.network_checkpoint)


METHOD = Toco()
