"""EPS: explicit pseudo-pixel supervision (Lee et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, NotRunnable, Shared, Stage, Supervision
from methods.cam.config import CamStageConfig
from methods.eps.config import PRESETS, EpsConfig
from methods.layers.saliency.config import resolve
from methods.layers.weights.released import released_stage
from methods.pipeline import image_scores_stage, stages_after_cam


class Eps(Method):
    """Joint classification and saliency loss -> CAM -> constant background -> segmentation network."""

    name = "eps"
    title = "EPS"
    paper = "Lee et al., Railroad is not a Train: Saliency as Pseudo-pixel Supervision for WSSS, CVPR 2021"
    summary = "saliency as pseudo-pixel supervision"
    needs = "image labels, saliency maps (a folder, the `saliency` extra, or the miniature detector at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.SALIENCY})
    in_all = True
    config = EpsConfig
    presets = PRESETS
    reported_as = "EPS"

    def stages(self, config: EpsConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        if config.classifier_checkpoint is None:
            trained = self._joint_training(config, view)
        else:
            run = "methods.eps.stages:released"
            trained = [released_stage("classify", run, config.classifier_checkpoint, config.backbone)]
        classify = trained[-1]
        cam = Stage(
            "cam",
            "methods.eps.stages:cam",
            CamStageConfig(config.backbone, shared.inference or config.inference),
            Kind.CAM,
            inputs={"weights": classify.name},
            seeded=False,
            fixed_threshold=config.background_threshold,
            profile="methods.eps.profile:cam",
        )
        scores = image_scores_stage("methods.eps.stages:image_scores", cam.settings, classify)
        return [*trained, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]

    def _joint_training(self, config: EpsConfig, view: TrainingView) -> list[Stage]:
        """Saliency, then the training with it."""
        _check_selection(config, view)
        detector = resolve(config.saliency, view)
        saliency = Stage(
            "saliency",
            "methods.layers.saliency.stage:detect",
            detector,
            Kind.SALIENCY,
            pretrained=detector.pretrained,
            seeded=False,
            profile="methods.layers.saliency.profile:detect",
        )
        classify = Stage(
            "classify",
            "methods.eps.stages:classify",
            config.joint_training(detector),
            Kind.WEIGHTS,
            inputs={"saliency": saliency.name},
            pretrained=(config.backbone.weights,),
            profile="methods.eps.profile:classify",
        )
        return [saliency, classify]


def _check_selection(config: EpsConfig, view: TrainingView) -> None:
    missing = [name for name in config.predefined_background if name not in view.classes]
    if config.map_selection == "predefined" and missing:
        raise NotRunnable(
            f"map_selection=predefined: {view.name} has no {', '.join(missing)}; name the classes that saliency "
            f"overlooks by method.eps.predefined_background=[NAME,...], some of {', '.join(view.classes)}"
        )


METHOD = Eps()
