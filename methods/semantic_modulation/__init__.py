"""Semantic modulation of class-to-patch attention (Li et al., Journal of Software 36(9), 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Method, Shared, Stage, Supervision
from methods.mctformer import DEVIATIONS, transformer_stages
from methods.semantic_modulation.config import (
    PRESETS,
    ModulatedCamConfig,
    SemanticModulationConfig,
)
from methods.semantic_modulation.experiments import EXPERIMENTS
from methods.unified import from_imagenet


class SemanticModulation(Method):
    """MCTformer with its class-to-patch attention modulated by semantically related patches."""

    name = "semantic_modulation"
    title = "Semantic modulation"
    paper = "Li et al., Semantic-modulation-based Weakly Supervised Semantic Segmentation, J. Software 36(9), 2025"
    summary = "class-to-patch attention corrected by that of semantically related patches"
    needs = "image labels, a pretrained vision transformer"
    supervision = frozenset({Supervision.LABELS})
    in_all = True
    config = SemanticModulationConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    deviations = (
        Deviation(
            "attention maps",
            "Eq. 2 prints no softmax",
            "MCTformer takes attention after the softmax",
            "after the softmax",
            "the method builds on MCTformer's code",
        ),
        Deviation(
            "ranking of related patches",
            "not said which layers' affinity ranks, nor whether a patch is related to itself",
            "not published",
            "the summed affinity that also refines the CAM; a patch may be related to itself",
            "one affinity for both uses; settings modulation.ranking, modulation.include_self",
        ),
        *DEVIATIONS,
    )
    reported_as = "Semantic modulation"
    experiments = EXPERIMENTS

    def stages(self, config: SemanticModulationConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        settings = ModulatedCamConfig(
            config.vit,
            config.attention,
            shared.inference or config.inference,
            config.intermediate,
            config.modulation,
        )
        return transformer_stages(config, "methods.semantic_modulation", settings, shared)


METHOD = SemanticModulation()
