"""Plain CAM (Zhou et al., CVPR 2016): the baseline every method is measured against."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision
from methods.cam.config import PRESETS, CamConfig, CamTrainingConfig
from methods.pipeline import cam_stages, classify_stage, stages_after_cam

NETWORK = "methods.cam.network:PlainCam"


class CamMethod(Method):
    """Classifier -> CAM -> constant background -> segmentation network."""

    name = "cam"
    title = "CAM"
    paper = "Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016"
    summary = "plain class activation maps: the baseline"
    needs = "image labels, a pretrained backbone"
    supervision = frozenset({Supervision.LABELS})
    default = True
    config = CamConfig
    presets = PRESETS
    reported_as = "CAM"

    def stages(self, config: CamConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        training = CamTrainingConfig(
            config.backbone, config.train, dropout=config.dropout, crops=config.crops
        )
        classify = classify_stage(NETWORK, training, config.classifier_checkpoint)
        cam, scores = cam_stages(NETWORK, classify, config, shared)
        return [classify, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


METHOD = CamMethod()
