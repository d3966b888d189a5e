"""The graph of single-stage methods."""

from __future__ import annotations

from typing import Any

from methods.base import Kind, MethodError, Shared, Stage
from methods.layers.config import CamStageConfig
from methods.layers.weights.released import released_stage
from methods.pipeline import cam_stages
from methods.refiners import refiner_stages, uncorrected_stage
from methods.segmenters import segmentation_stages
from methods.toco.config import CorrectedLabelConfig, PredictConfig, SingleStageConfig


def single_stage(
    name: str, config: SingleStageConfig, shared: Shared, checkpoint: str | None = None
) -> list[Stage]:
    """The graph: train -> cam -> pseudo_label, and the network's own predictions.

    checkpoint: a released network in place of the training
    Under a protocol with a segmentation network for all, the pseudo-labels train that one. Raises MethodError for
    a setting that is none of its options.
    """
    if shared.refiner is None and config.labels.corrects and config.refiner.name != "none":
        raise MethodError(
            f"method.{name}.refiner.name={config.refiner.name} does nothing where labels.refinement="
            f"{config.labels.refinement} makes the "
            f"pseudo-labels; set method.{name}.labels.refinement=none, too, or use --refiners {config.refiner.name}"
        )
    if shared.segmenter is None and (config.weights.segmentation == 0 or config.phases.segmentation == 1):
        raise MethodError(
            f"method.{name}: with weights.segmentation={config.weights.segmentation} and phases.segmentation="
            f"{config.phases.segmentation} nothing trains the decoder, which predicts; give a weight above 0 and a "
            "phase below 1, or a segmentation network of its own (--segmenters)"
        )
    train = Stage(
        "train",
        "methods.toco.stages:train",
        config.training(),
        Kind.WEIGHTS,
        pretrained=(config.vit.weights,),
        profile="methods.toco.profile:train",
    )
    if checkpoint is not None:
        train = released_stage(train.name, "methods.toco.branch:Branch.released", checkpoint, config.network)
    settings = CamStageConfig(inference=config.inference, trained=config.which)
    cam, scores = cam_stages("methods.toco.branch:Branch", train, config, shared, settings)
    if shared.refiner is not None or not config.labels.corrects:
        refined = refiner_stages(shared.refiner or config.refiner, cam)
    else:
        refined = _corrected(config, cam, train)
    if shared.segmenter is not None:
        return [train, cam, scores, *refined, *segmentation_stages(shared.segmenter, refined[-1].name)]
    return [train, cam, scores, *refined, predict_stage(train, config)]


def predict_stage(train: Stage, config: Any) -> Stage:
    """Predictions by the decoder of a `Branch` that stage `train` yields.

    config: with `network`, `which` (the branch's file) and `test`
    """
    return Stage(
        "predict",
        "methods.toco.stages:predict",
        PredictConfig(config.network, config.which, config.test),
        Kind.PREDICTION,
        inputs={"weights": train.name},
        splits=("val",),
        seeded=False,
        profile="methods.toco.profile:predict",
    )


def _corrected(config: SingleStageConfig, cam: Stage, train: Stage) -> list[Stage]:
    corrected = Stage(
        "pseudo_label",
        "methods.toco.stages:pseudo_label",
        CorrectedLabelConfig(
            config.which,
            config.correction,
            config.background_threshold,
            config.inference.batch_size,
            (config.labels.low, config.labels.high) if config.labels.refines else None,
        ),
        Kind.PSEUDO_LABEL,
        inputs={"cam": cam.name, "weights": train.name},
        seeded=False,
        profile="methods.toco.profile:pseudo_label",
    )
    return [uncorrected_stage(cam, config.background_threshold), corrected]
