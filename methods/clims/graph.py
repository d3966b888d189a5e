"""The graph of methods that train a CAM network under CLIP's guidance."""

from __future__ import annotations

from dataclasses import replace

from methods.base import Kind, MethodError, Shared, Stage, part
from methods.cam import NETWORK as CAM
from methods.cam.config import CamTrainingConfig
from methods.clims.config import GuidedCamConfig, GuidedConfig, GuidedTrainingConfig
from methods.layers.config import BackboneConfig
from methods.layers.weights.released import released_stage
from methods.pipeline import cam_stages, classify_stage, image_scores_stage, stages_after_cam

GUIDED = "methods.clims.network:ActivatedCam"


def classifier_backbone(config: GuidedConfig) -> BackboneConfig:
    """The backbone as the classifier's training has it."""
    own = config.classifier_frozen_stages
    return replace(
        config.backbone,
        frozen_stages=config.backbone.frozen_stages if own is None else own,
        fixed_statistics=config.backbone.fixed_statistics or config.classifier_fixed_statistics,
    )


def guided_stages(
    config: GuidedConfig,
    run: str,
    settings: GuidedTrainingConfig,
    shared: Shared,
    checkpoint: str | None = None,
) -> list[Stage]:
    """(classify ->) guide -> cam -> the usual path. The classifier's stage is that of `cam`, and so is its accuracy.

    run, settings: the guided training's function and settings
    checkpoint: a trained network in place of both trainings
    """
    if config.classifier_checkpoint is not None and (checkpoint or config.initialisation != "classifier"):
        raise MethodError(
            "classifier_checkpoint is what a guided training starts from, and there is none from a classifier here; "
            "leave it out, or set initialisation=classifier and no network_checkpoint"
        )
    plain = CamTrainingConfig(classifier_backbone(config), config.classifier)
    classify = classify_stage(CAM, plain, config.classifier_checkpoint)
    guide = Stage(
        "guide",
        run,
        settings,
        Kind.WEIGHTS,
        pretrained=(config.clip.weights,),
        profile="methods.clims.profile:guide",
    )
    if checkpoint is not None:
        first = [released_stage(guide.name, f"{CAM}.released", checkpoint, config.backbone)]
    elif config.initialisation == "classifier":
        scores = image_scores_stage(CAM, classify, shared.inference or config.inference)
        first = [classify, replace(guide, inputs={"weights": classify.name}), scores]
    else:
        first = [replace(guide, pretrained=(config.backbone.weights, config.clip.weights))]
    cam, _ = cam_stages(GUIDED, guide, config, shared, part(GuidedCamConfig, config))
    return [*first, cam, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]
