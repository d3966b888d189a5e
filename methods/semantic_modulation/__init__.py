"""Semantic modulation of class-to-patch attention (Li et al., Journal of Software 36(9), 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Method, Shared, Stage, Supervision, part
from methods.mctformer import transformer_stages
from methods.semantic_modulation.config import (
    PRESETS,
    ModulatedCamConfig,
    SemanticModulationConfig,
)
from methods.unified import from_imagenet

NETWORK = "methods.semantic_modulation.network:ModulatedNetwork"


class SemanticModulation(Method):
    """MCTformer with its class-to-patch attention modulated by semantically related patches."""

    name = "semantic_modulation"
    title = "Semantic modulation"
    paper = "Li et al., Semantic-modulation-based Weakly Supervised Semantic Segmentation, J. Software 36(9), 2025"
    summary = "class-to-patch attention corrected by that of semantically related patches"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    default = True
    config = SemanticModulationConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    reported_as = "Semantic modulation"

    def stages(self, config: SemanticModulationConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        return transformer_stages(config, NETWORK, part(ModulatedCamConfig, config), shared)


METHOD = SemanticModulation()
