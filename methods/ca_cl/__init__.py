"""CA-CL: class-aware contrastive learning with CLIP (Bai et al., Acta Electronica Sinica 53(6), 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, MethodError, Shared, Stage, Supervision
from methods.ca_cl.config import (
    PRESETS,
    CaClConfig,
    CaClTrainingConfig,
    SuppressionConfig,
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
    in_all = True
    config = CaClConfig
    presets = PRESETS
    reported_as = "CA-CL"

    def stages(self, config: CaClConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        _check(config.suppression)
        background = {CLASSES} if config.weights.suppression > 0 else ()
        texts = resolve_texts("method.ca_cl", config.text, view, background)
        require_covered("method.ca_cl.clip", config.clip, texts)
        settings = CaClTrainingConfig(
            config.backbone,
            config.clip,
            texts,
            config.train,
            config.composition,
            config.initialisation,
            config.weights,
            config.margin,
            config.suppression,
        )
        return guided_stages(config, "methods.ca_cl.stages:guide", settings, shared)


def _check(suppression: SuppressionConfig) -> None:
    if not suppression.lower <= suppression.initial <= suppression.upper:
        raise MethodError(
            f"suppression.initial={suppression.initial}: must lie in "
            f"[suppression.lower={suppression.lower}, suppression.upper={suppression.upper}]"
        )


METHOD = CaCl()
