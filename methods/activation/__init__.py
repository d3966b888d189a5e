"""Activation maps of any classifier: Grad-CAM, Grad-CAM++, LayerCAM, Score-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasets.base import TrainingView
from methods.activation.config import CAM, PRESETS, ActivationConfig, ActivationStageConfig
from methods.base import Method, MethodError, Shared, Stage, Supervision, part
from methods.cam.config import CamTrainingConfig
from methods.layers.config import TrainingConfig
from methods.layers.weights.files import NONE
from methods.pipeline import (
    cam_stages,
    classify_stage,
    image_scores_stage,
    require_whole_images,
    stages_after_cam,
)

PLAIN = "methods.cam.network:PlainCam"
OF_PLAIN = "methods.activation.network:CamActivation"
WHOLE = "methods.activation.whole:WholeClassifier"


class Activation(Method):
    """Classifier, `cam`'s or the user's own -> maps of its activations -> refiner -> segmentation network."""

    name = "activation"
    title = "Activation maps"
    paper = "Selvaraju et al., ICCV 2017; Chattopadhay et al., WACV 2018; Jiang et al., TIP 2021; Wang et al., CVPRW 2020"
    summary = "Grad-CAM, Grad-CAM++, LayerCAM or Score-CAM of any classifier, your own too"
    needs = "image labels, a pretrained backbone or your own classifier"
    supervision = frozenset({Supervision.LABELS})
    config = ActivationConfig
    presets = PRESETS

    def stages(self, config: ActivationConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        self._check_outputs(config, view)
        if config.rule in ("gradcam++", "scorecam") or config.network.name != CAM:
            require_whole_images(self.name, config, shared)
        if config.network.name == CAM:
            network, of_maps = PLAIN, OF_PLAIN
            training: TrainingConfig = CamTrainingConfig(
                config.backbone, config.train, dropout=config.dropout, crops=config.crops
            )
        else:
            network = of_maps = WHOLE
            start = NONE if config.classifier_checkpoint else config.network.weights or config.network.name
            training = TrainingConfig(replace(config.network, weights=start), config.train)
        classify = classify_stage(network, training, config.classifier_checkpoint)
        cam, _ = cam_stages(of_maps, classify, config, shared, part(ActivationStageConfig, config))
        scores = image_scores_stage(network, classify, cam.settings.inference)
        return [classify, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]

    def _check_outputs(self, config: ActivationConfig, view: TrainingView) -> None:
        """MethodError unless `network.outputs` names one of the checkpoint's for each class, or none."""
        outputs, setting = config.network.outputs, f"method.{self.name}.network.outputs"
        if not outputs:
            return
        if config.network.name == CAM or config.classifier_checkpoint is None:
            raise MethodError(
                f"{setting} is of a whole network's checkpoint; set method.{self.name}.network.name and "
                f"method.{self.name}.classifier_checkpoint, or leave it out"
            )
        if len(outputs) != len(view.classes):
            raise MethodError(
                f"{setting} names {len(outputs)} outputs, and data set {view.name} has {len(view.classes)} classes; name "
                f"one for each of {', '.join(view.classes)}, in this order"
            )


METHOD = Activation()
