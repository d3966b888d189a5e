"""WeCLIP: a frozen CLIP as the backbone (Zhang et al., CVPR 2024)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, Shared, Stage, Supervision
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import resolve_prompts
from methods.pipeline import require_whole_images
from methods.refiners import refiner_stages
from methods.segmenters import segmentation_stages
from methods.weclip.config import PRESETS, PredictConfig, WeclipCamConfig, WeclipConfig


class Weclip(Method):
    """One training of a decoder on a frozen CLIP -> its maps -> labels; the decoder predicts."""

    name = "weclip"
    title = "WeCLIP"
    paper = (
        "Zhang et al., Frozen CLIP: A Strong Backbone for Weakly Supervised Semantic Segmentation, CVPR 2024"
    )
    summary = "single-stage: a decoder on a frozen CLIP learns from the CLIP's own maps"
    needs = "image labels, class names, a CLIP with a vision transformer (open_clip weights, or the miniature at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.TEXT})
    config = WeclipConfig
    presets = PRESETS
    reported_as = "WeCLIP"

    def stages(self, config: WeclipConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        require_whole_images(self.name, config, shared)
        texts = resolve_prompts(f"method.{self.name}", config.text, view)
        require_covered(f"method.{self.name}.clip", config.clip, texts)
        training = config.training(texts)
        train = Stage(
            "train",
            "methods.weclip.stages:train",
            training,
            Kind.WEIGHTS,
            pretrained=(config.clip.weights,),
            profile="methods.weclip.stages:profile_train",
        )
        cam = Stage(
            "cam",
            "methods.weclip.stages:cam",
            WeclipCamConfig(
                inference=shared.inference or config.inference, correct=config.correction.start < 1
            ),
            Kind.CAM,
            inputs={"weights": train.name},
            seeded=False,
            fixed_threshold=config.background_threshold,
            profile="methods.weclip.stages:profile_cam",
        )
        refined = refiner_stages(shared.refiner or config.refiner, cam)
        if shared.segmenter is not None:
            return [train, cam, *refined, *segmentation_stages(shared.segmenter, refined[-1].name)]
        predict = Stage(
            "predict",
            "methods.weclip.stages:predict",
            PredictConfig(training.network, config.test),
            Kind.PREDICTION,
            inputs={"weights": train.name},
            splits=("val",),
            seeded=False,
            profile="methods.weclip.stages:profile_predict",
        )
        return [train, cam, *refined, predict]


METHOD = Weclip()
