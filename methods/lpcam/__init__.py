"""LPCAM: local prototype CAM (Chen & Sun, CVPR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision
from methods.cam.config import CamTrainingConfig
from methods.lpcam.config import PRESETS, LpcamConfig, LpcamStageConfig
from methods.pipeline import cam_stages, classify_stage, stages_after_cam

PLAIN = "methods.cam.network:PlainCam"
NETWORK = "methods.lpcam.network:LpcamNetwork"


class Lpcam(Method):
    """Classifier -> CAM -> prototypes of its features -> maps by likeness to them -> IRNet -> segmentation network."""

    name = "lpcam"
    title = "LPCAM"
    paper = "Chen & Sun, Extracting Class Activation Maps from Non-Discriminative Features as well, CVPR 2023"
    summary = "CAMs by likeness to local prototypes, without a training of their own"
    needs = "image labels, a pretrained backbone"
    supervision = frozenset({Supervision.LABELS})
    config = LpcamConfig
    presets = PRESETS
    reported_as = "LPCAM"

    def stages(self, config: LpcamConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        training = CamTrainingConfig(config.backbone, config.train)
        classify = classify_stage(PLAIN, training, config.classifier_checkpoint)
        plain, scores = cam_stages(PLAIN, classify, config, shared)
        plain = replace(plain, name="cam_plain", scored_as="cam_plain", fixed_threshold=config.cam_threshold)
        settings = LpcamStageConfig(inference=config.inference, **asdict(config.prototypes))
        cam, _ = cam_stages(NETWORK, classify, config, shared, settings)
        cam = replace(cam, inputs={**cam.inputs, "cam": plain.name}, seeded=True)
        after = stages_after_cam(cam, config.refiner, config.segmenter, shared)
        return [classify, plain, cam, scores, *after]


METHOD = Lpcam()
