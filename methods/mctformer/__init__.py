"""MCTformer: a transformer with one class token a class (Xu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, Shared, Stage, Supervision
from methods.layers.weights.released import released_stage
from methods.mctformer.config import (
    PRESETS,
    CamStageConfig,
    ClassifyConfig,
    MctformerConfig,
    PartConfig,
    ScoresConfig,
)
from methods.pipeline import image_scores_stage, stages_after_cam
from methods.unified import from_imagenet


def transformer_stages(
    config: MctformerConfig, cam_module: str, cam_settings: CamStageConfig, shared: Shared
) -> list[Stage]:
    """The graph of methods on this transformer: classify -> cam (and its intermediate ones) -> the usual path.

    cam_module: package whose `stages` and `profile` have the CAM stage's functions; cam_settings: its settings
    """
    classify = Stage(
        "classify",
        "methods.mctformer.stages:classify",
        ClassifyConfig(config.vit, config.train),
        Kind.WEIGHTS,
        pretrained=(config.vit.weights,),
        profile="methods.mctformer.profile:classify",
    )
    if config.classifier_checkpoint is not None:
        classify = released_stage(
            classify.name, "methods.mctformer.stages:released", config.classifier_checkpoint, config.vit
        )
    cam = Stage(
        "cam",
        f"{cam_module}.stages:cam",
        cam_settings,
        Kind.CAM,
        inputs={"weights": classify.name},
        seeded=False,
        fixed_threshold=config.background_threshold,
        cam_folders=1 + len(config.intermediate),
        profile=f"{cam_module}.profile:cam",
    )
    parts = [
        Stage(
            f"cam_{name}",
            "methods.mctformer.stages:part",
            PartConfig(name),
            Kind.CAM,
            inputs={"cam": cam.name},
            seeded=False,
            scored_as=f"cam_{name}",
        )
        for name in config.intermediate
    ]
    scores = image_scores_stage(
        "methods.mctformer.stages:image_scores",
        ScoresConfig(config.vit, config.inference.batch_size),
        classify,
    )
    return [classify, cam, *parts, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


class Mctformer(Method):
    """Class tokens and patches classified -> CAM refined by attention -> the usual path."""

    name = "mctformer"
    title = "MCTformer"
    paper = "Xu et al., Multi-class Token Transformer for Weakly Supervised Semantic Segmentation, CVPR 2022"
    summary = "CAMs of a multi-class-token transformer, refined by its attention"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    config = MctformerConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    reported_as = "MCTformer"

    def stages(self, config: MctformerConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        settings = CamStageConfig(
            config.vit, config.attention, shared.inference or config.inference, config.intermediate
        )
        return transformer_stages(config, "methods.mctformer", settings, shared)


METHOD = Mctformer()
