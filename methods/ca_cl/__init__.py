"""CA-CL: class-aware contrastive learning with CLIP (Bai et al., Acta Electronica Sinica 53(6), 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision, part
from methods.ca_cl.config import (
    PRESETS,
    CaClConfig,
    CaClTrainingConfig,
)
from methods.clims.graph import guided_stages
from methods.layers.clip.covered import require_covered
from methods.layers.clip.words import CLASSES, resolve_texts


class CaCl(Method):
    """Classifier -> training with CLIP's guidance -> CAM -> segmentation network."""

    name = "ca_cl"
    title = "CA-CL"
    paper = "Bai et al., Class-aware Contrastive Learning for WSSS, Acta Electronica Sinica 53(6), 2025"
    summary = "CAMs guided by CLIP: prompts chosen by image, background words by class"
    needs = (
        "image labels, class names and background words, a CLIP (open_clip weights, or the miniature at nano)"
    )
    supervision = frozenset({Supervision.LABELS, Supervision.TEXT})
    default = True
    config = CaClConfig
    presets = PRESETS
    reported_as = "CA-CL"

    def stages(self, config: CaClConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        background = {CLASSES} if config.weights.suppression > 0 else ()
        texts = resolve_texts("method.ca_cl", config.text, view, background)
        require_covered("method.ca_cl.clip", config.clip, texts)
        settings = part(CaClTrainingConfig, config, network=config.backbone, texts=texts)
        return guided_stages(config, "methods.ca_cl.stages:guide", settings, shared)


METHOD = CaCl()
