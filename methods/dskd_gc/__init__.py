"""DSKD-GC: dual-stage distillation and Gaussian correction, in one training (Bai et al., 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision
from methods.dskd_gc.config import PRESETS, DskdConfig
from methods.toco.graph import single_stage
from methods.unified import from_imagenet


class DskdGc(Method):
    """Teacher and student -> CAM -> labels corrected by a Gaussian mixture; the teacher's decoder predicts."""

    name = "dskd_gc"
    title = "DSKD + GC"
    paper = "Bai et al., Dual-stage guided WSSS with Gaussian correction, J. Image and Graphics 30(12), 2025"
    summary = "single-stage: distillation between teacher and student, pseudo-labels corrected by a mixture"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    default = True
    config = DskdConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    reported_as = "DSKD + GC"

    def stages(self, config: DskdConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        return single_stage(self.name, config, shared)


METHOD = DskdGc()
