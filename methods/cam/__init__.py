"""Plain CAM (Zhou et al., CVPR 2016): the baseline every method is measured against."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, Shared, Stage, Supervision
from methods.cam.config import PRESETS, CamConfig, CamStageConfig, ClassifyConfig
from methods.layers.config import BackboneConfig, TrainConfig
from methods.layers.weights.released import released_stage
from methods.pipeline import image_scores_stage, stages_after_cam


def classifier_stage(backbone: BackboneConfig, train: TrainConfig, checkpoint: str | None) -> Stage:
    """The stage `classify`: the training, or the checkpoint in its place."""
    if checkpoint is not None:
        return released_stage("classify", "methods.cam.stages:released", checkpoint, backbone)
    return Stage(
        "classify",
        "methods.cam.stages:classify",
        ClassifyConfig(backbone, train),
        Kind.WEIGHTS,
        pretrained=(backbone.weights,),
        profile="methods.cam.profile:classify",
    )


class CamMethod(Method):
    """Classifier -> CAM -> constant background -> segmentation network."""

    name = "cam"
    title = "CAM"
    paper = "Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016"
    summary = "plain class activation maps: the baseline"
    needs = "image labels, a pretrained backbone"
    supervision = frozenset({Supervision.LABELS})
    in_all = True
    config = CamConfig
    presets = PRESETS
    reported_as = "CAM"

    def stages(self, config: CamConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        classify = classifier_stage(config.backbone, config.train, config.classifier_checkpoint)
        cam = Stage(
            "cam",
            "methods.cam.stages:cam",
            CamStageConfig(config.backbone, shared.inference or config.inference),
            Kind.CAM,
            inputs={"weights": classify.name},
            seeded=False,
            fixed_threshold=config.background_threshold,
            profile="methods.cam.profile:cam",
        )
        scores = image_scores_stage("methods.cam.stages:image_scores", cam.settings, classify)
        return [classify, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


METHOD = CamMethod()
