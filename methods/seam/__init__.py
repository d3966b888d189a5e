"""SEAM: self-supervised equivariant attention (Wang et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision, part
from methods.pipeline import cam_stages, classify_stage, require_whole_images, stages_after_cam
from methods.seam.config import PRESETS, SeamConfig, SeamTrainingConfig

NETWORK = "methods.seam.network:SeamNetwork"


class Seam(Method):
    """Classifier whose CAMs of two views agree, refined by PCM -> PSA -> segmentation network."""

    name = "seam"
    title = "SEAM"
    paper = "Wang et al., Self-supervised Equivariant Attention Mechanism for WSSS, CVPR 2020"
    summary = "CAMs that are equivariant to scale, refined by correlations of pixels"
    needs = "image labels, a pretrained convolutional backbone"
    supervision = frozenset({Supervision.LABELS})
    config = SeamConfig
    presets = PRESETS
    reported_as = "SEAM"

    def stages(self, config: SeamConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        require_whole_images(self.name, config, shared)
        training = part(SeamTrainingConfig, config, network=config.backbone)
        classify = classify_stage(NETWORK, training, config.classifier_checkpoint)
        cam, scores = cam_stages(NETWORK, classify, config, shared)
        return [classify, cam, scores, *stages_after_cam(cam, config.refiner, config.segmenter, shared)]


METHOD = Seam()
