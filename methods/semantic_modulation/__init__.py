"""Semantic modulation of class-to-patch attention (Li et al., Journal of Software 36(9), 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Deviation, Method, MethodError, Reported, Shared, Stage, Supervision
from methods.mctformer import DEVIATIONS, transformer_stages
from methods.semantic_modulation.config import (
    PRESETS,
    RANKINGS,
    ModulatedCamConfig,
    SemanticModulationConfig,
)
from methods.semantic_modulation.experiments import EXPERIMENTS


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
    deviations = (
        Deviation(
            "attention maps",
            "Eq. 2 prints no softmax",
            "MCTformer takes attention after the softmax",
            "after the softmax",
            "the method builds on MCTformer's code",
        ),
        Deviation(
            "side of the patch-to-patch product",
            "CAM · p2p (Eq. 6)",
            "MCTformer: p2p @ CAM, each patch gathers by its own attention",
            "MCTformer's; attention.patch_to_patch_side=right for the printed one",
            "the rows of p2p are the distributions",
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
    reported = (
        Reported("voc2012", "train", "cam_original", "miou", 46.1, "Tab. 5"),
        Reported("voc2012", "train", "cam_affinity", "miou", 54.2, "original + patch-to-patch, Tab. 4"),
        Reported("voc2012", "train", "cam_modulated", "miou", 59.3, "Tab. 5"),
        Reported("voc2012", "train", "cam", "miou", 63.6, "Final-CAM, Tab. 2 to 5"),
        Reported("voc2012", "train", "pseudo_label", "miou", 70.5, "+ PSA, Tab. 6"),
        Reported("voc2012", "val", "segmentation", "miou", 72.7, "ResNet-38, Tab. 7"),
        Reported("voc2012", "test", "segmentation", "miou", 71.9, "ResNet-38, Tab. 7"),
        Reported("coco2014", "val", "segmentation", "miou", 42.3, "Tab. 8"),
    )
    experiments = EXPERIMENTS

    def stages(self, config: SemanticModulationConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        modulation = config.modulation
        if modulation.ranking not in RANKINGS:
            raise MethodError(
                f"method.semantic_modulation.modulation.ranking={modulation.ranking!r}: "
                f"choose {', '.join(RANKINGS)}"
            )
        if not 0 < modulation.ratio <= 1 or modulation.strength < 0:
            raise MethodError(
                f"method.semantic_modulation.modulation: ratio={modulation.ratio} must lie in (0, 1] and "
                f"strength={modulation.strength} must not be negative"
            )
        settings = ModulatedCamConfig(
            config.vit, config.attention, config.inference, config.intermediate, modulation
        )
        return transformer_stages(config, "methods.semantic_modulation", settings, shared)


METHOD = SemanticModulation()
