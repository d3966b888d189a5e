"""DuPL: dual student with trustworthy progressive learning (Wu et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, MethodError, Shared, Stage, Supervision
from methods.dupl.config import PRESETS, DuplConfig
from methods.layers.config import CamStageConfig
from methods.pipeline import cam_stages
from methods.refiners import refiner_stages
from methods.segmenters import segmentation_stages
from methods.toco.graph import predict_stage
from methods.unified import from_imagenet


class Dupl(Method):
    """One training of two networks -> one's CAM -> labels; its decoder predicts."""

    name = "dupl"
    title = "DuPL"
    paper = "Wu et al., DuPL: Dual Student with Trustworthy Progressive Learning for Robust WSSS, CVPR 2024"
    summary = "single-stage: two students teach each other, with labels filtered of noise"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    config = DuplConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    reported_as = "DuPL"

    def stages(self, config: DuplConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        if shared.segmenter is None and (config.weights.segmentation == 0 or config.phases.segmentation == 1):
            raise MethodError(
                f"method.dupl: with weights.segmentation={config.weights.segmentation} and phases.segmentation="
                f"{config.phases.segmentation} nothing trains the decoder, which predicts; give a weight above 0 and a "
                "phase below 1, or a segmentation network of its own (--segmenters)"
            )
        train = Stage(
            "train",
            "methods.dupl.stages:train",
            config.training(),
            Kind.WEIGHTS,
            pretrained=(config.vit.weights,),
            profile="methods.dupl.stages:profile_train",
        )
        settings = CamStageConfig(inference=config.inference, trained=config.which)
        cam, scores = cam_stages("methods.toco.branch:Branch", train, config, shared, settings)
        refined = refiner_stages(shared.refiner or config.refiner, cam)
        if shared.segmenter is not None:
            return [train, cam, scores, *refined, *segmentation_stages(shared.segmenter, refined[-1].name)]
        return [train, cam, scores, *refined, predict_stage(train, config)]


METHOD = Dupl()
