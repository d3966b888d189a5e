"""MCTformer: a transformer with one class token a class (Xu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasets.base import TrainingView
from methods.base import Kind, Method, Shared, Stage, Supervision, part
from methods.layers.config import TrainingConfig
from methods.mctformer.config import PRESETS, AttendedCamConfig, MctformerConfig, PartConfig
from methods.pipeline import cam_stages, classify_stage, image_scores_stage, stages_after_cam
from methods.unified import from_imagenet

NETWORK = "methods.mctformer.network:MctformerNetwork"


def transformer_stages(
    config: MctformerConfig, network: str, settings: AttendedCamConfig, shared: Shared
) -> list[Stage]:
    """The graph of methods on this transformer: classify -> cam (and its intermediate ones) -> the usual path.

    network: the CAM's, whose weights are MCTformer's; settings: of the CAM stage
    """
    training = TrainingConfig(config.vit, config.train)
    classify = classify_stage(NETWORK, training, config.classifier_checkpoint)
    cam, _ = cam_stages(network, classify, config, shared, settings)
    scores = image_scores_stage(NETWORK, classify, shared.inference or config.inference)
    cam = replace(cam, cam_folders=1 + len(config.intermediate))
    parts = [
        Stage(
            f"cam_{name}",
            "methods.mctformer.parts:part",
            PartConfig(name),
            Kind.CAM,
            inputs={"cam": cam.name},
            seeded=False,
            scored_as=f"cam_{name}",
        )
        for name in config.intermediate
    ]
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
        return transformer_stages(config, NETWORK, part(AttendedCamConfig, config), shared)


METHOD = Mctformer()
