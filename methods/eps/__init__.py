"""EPS: explicit pseudo-pixel supervision (Lee et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasets.base import TrainingView
from methods.base import Method, NotRunnable, Shared, Stage, Supervision, part
from methods.eps.config import PRESETS, EpsConfig, JointTrainingConfig
from methods.layers.config import TrainingConfig
from methods.layers.saliency.config import resolve, saliency_stage
from methods.pipeline import cam_stages, classify_stage, stages_after_cam

NETWORK = "methods.eps.network:EpsNetwork"


class Eps(Method):
    """Joint classification and saliency loss -> CAM -> constant background -> segmentation network."""

    name = "eps"
    title = "EPS"
    paper = "Lee et al., Railroad is not a Train: Saliency as Pseudo-pixel Supervision for WSSS, CVPR 2021"
    summary = "saliency as pseudo-pixel supervision"
    needs = "image labels, saliency maps (a folder, the `saliency` extra, or the miniature detector at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.SALIENCY})
    default = True
    config = EpsConfig
    presets = PRESETS
    reported_as = "EPS"

    def stages(self, config: EpsConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        before, classify = self._training(config, view)
        cam, scores = cam_stages(NETWORK, classify, config, shared)
        cam = replace(cam, inputs={**cam.inputs, **{stage.name: stage.name for stage in before}})
        after = stages_after_cam(cam, config.refiner, config.segmenter, shared)
        return [*before, classify, cam, scores, *after]

    def _training(self, config: EpsConfig, view: TrainingView) -> tuple[list[Stage], Stage]:
        """Saliency and the training with it, or the checkpoint in the place of both."""
        if config.classifier_checkpoint is not None:
            training = TrainingConfig(config.backbone, config.train)
            return [], classify_stage(NETWORK, training, config.classifier_checkpoint)
        detector = resolve(config.saliency, view)
        saliency = saliency_stage(detector)
        settings = part(
            JointTrainingConfig,
            config,
            network=config.backbone,
            saliency=detector,
            predefined_background=_background_classes(config, view),
        )
        return [saliency], classify_stage(NETWORK, settings, inputs={"saliency": saliency.name})


def _background_classes(config: EpsConfig, view: TrainingView) -> tuple[int, ...]:
    """Indices of the classes that `predefined` gives to the background; none for other selections."""
    if config.map_selection != "predefined":
        return ()
    if missing := [name for name in config.predefined_background if name not in view.classes]:
        raise NotRunnable(
            f"map_selection=predefined: {view.name} has no {', '.join(missing)}; name the classes that saliency "
            f"overlooks by method.eps.predefined_background=[NAME,...], some of {', '.join(view.classes)}"
        )
    return tuple(view.classes.index(name) for name in config.predefined_background)


METHOD = Eps()
