"""SAM-fused pseudo-labels: a transformer's CAM, SAM's masks over augmented views, and their fusion (Liu, 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from datasets.base import TrainingView
from methods.base import Kind, Method, Shared, Stage, Supervision
from methods.layers.sam.config import masks_seen, require_covered
from methods.pipeline import cam_stages, classify_stage
from methods.refiners import refiner_stages
from methods.refiners.config import PseudoLabelConfig
from methods.sam_fused.config import (
    PRESETS,
    ContrastedTrainingConfig,
    FusionStageConfig,
    MaskStageConfig,
    RuleConfig,
    SamFusedConfig,
)
from methods.segmenters import segmentation_stages
from methods.unified import from_imagenet

NETWORK = "methods.sam_fused.network:SamFusedNetwork"


class SamFused(Method):
    """Transformer -> CAM (P1) -> SAM's masks (P2) -> fusion (P) -> segmentation network."""

    name = "sam_fused"
    title = "SAM-fused"
    paper = "Liu, SAM-fused pseudo-label generation, Intelligent Computer and Applications 15(10), 2025"
    summary = "a transformer's CAM fused with SAM's masks over augmented views; made for surface defects"
    needs = "image labels, a pretrained vision transformer, a SAM (by path, or the miniature at nano)"
    supervision = frozenset({Supervision.LABELS, Supervision.SAM})
    default = True
    config = SamFusedConfig
    presets = PRESETS
    unified = from_imagenet(PRESETS)
    reported_as = "SAM-fused"

    def stages(self, config: SamFusedConfig, view: TrainingView, shared: Shared) -> Sequence[Stage]:
        contrast = config.contrast if config.contrast.weight > 0 else None
        classify = classify_stage(NETWORK, ContrastedTrainingConfig(config.vit, config.train, contrast))
        cam, scores = cam_stages(NETWORK, classify, config, shared)
        if shared.refiner is not None:  # one for all methods: what SAM adds is a refinement of its own
            labels = refiner_stages(shared.refiner, cam)
        else:
            require_covered("method.sam_fused.sam", config.sam, view)
            labels = _fused(config, cam)
        return [
            classify,
            cam,
            scores,
            *labels,
            *segmentation_stages(shared.segmenter or config.segmenter, labels[-1].name),
        ]


def _fused(config: SamFusedConfig, cam: Stage) -> list[Stage]:
    """P1, P2 and P."""
    masks = Stage(
        "masks",
        "methods.sam_fused.stages:masks",
        MaskStageConfig(config.sam, config.prompts, config.views, config.mask_batch_size),
        Kind.CAM,
        inputs={"cam": cam.name},
        pretrained=(config.sam.weights,),
        seeded=False,
        fixed_threshold=config.mask_threshold,
        seen_masks=masks_seen(config.sam),
        scored_as="cam_sam",
        profile="methods.sam_fused.profile:masks",
    )
    first = _thresholded("pseudo_label_vit", cam, config.background_threshold)
    second = _thresholded("pseudo_label_sam", masks, config.mask_threshold)
    inputs = {"cam": cam.name, "masks": masks.name}
    thresholds = (config.background_threshold, config.mask_threshold)
    if config.fusion.by != "network":
        by_rule = Stage(
            "pseudo_label",
            "methods.sam_fused.stages:pseudo_label_by_rule",
            RuleConfig(config.fusion.by, *thresholds),
            Kind.PSEUDO_LABEL,
            inputs=inputs,
            seeded=False,
        )
        return [first, masks, second, by_rule]
    settings = FusionStageConfig(config.fusion, *thresholds)
    fusion = Stage(
        "fusion",
        "methods.sam_fused.stages:fuse",
        settings,
        Kind.WEIGHTS,
        inputs=inputs,
        profile="methods.sam_fused.profile:fuse",
    )
    fused = Stage(
        "pseudo_label",
        "methods.sam_fused.stages:pseudo_label",
        settings,
        Kind.PSEUDO_LABEL,
        inputs={**inputs, "fusion": fusion.name},
        seeded=False,
        profile="methods.sam_fused.profile:pseudo_label",
    )
    return [first, masks, second, fusion, fused]


def _thresholded(name: str, maps: Stage, threshold: float) -> Stage:
    """The labels of P1 or P2 alone, scored under a name of their own."""
    return Stage(
        name,
        "methods.refiners.threshold:pseudo_label",
        PseudoLabelConfig(threshold),
        Kind.PSEUDO_LABEL,
        inputs={"cam": maps.name},
        seeded=False,
        scored_as=name,
    )


METHOD = SamFused()
