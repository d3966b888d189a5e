"""ToCo's settings: DSKD-GC's network and training with ToCo's losses, labels and schedule."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from datasets.recipe import Recipe
from methods.dskd_gc.config import PRESETS as DSKD_GC
from methods.dskd_gc.config import DskdConfig
from methods.layers.config import COCO


@dataclass(frozen=True)
class TocoConfig(DskdConfig):
    """ToCo (Ru et al., CVPR 2023): no student, class token contrast, pseudo-labels refined by PAR.

    network_checkpoint: a network of ToCo's code in place of the training
    """

    network_checkpoint: str | None = None


def _toco(config: DskdConfig) -> TocoConfig:
    own = TocoConfig(**{f.name: getattr(config, f.name) for f in fields(config)})
    weights = replace(own.weights, classification=0.0, similarity=0.0, uncertain=0.0, class_contrast=0.5)
    labels = replace(own.labels, refinement="par", loss="balanced")
    return replace(own, weights=weights, labels=labels)


def _nano(config: TocoConfig) -> TocoConfig:
    """CAMs of short trainings are lower."""
    return replace(config, labels=replace(config.labels, high=0.55), background_threshold=0.25)


def _paper(config: TocoConfig) -> TocoConfig:
    """As the reference code trains."""
    recipe = Recipe(crop=448, scale=(0.5, 2.0))
    return replace(
        config,
        train=replace(config.train, schedule="poly", recipe=recipe),
        class_contrast=replace(config.class_contrast, crops=10, size=96),
        labels=replace(config.labels, scales=(1.0, 0.5, 1.5)),
    )


def _coco(config: TocoConfig) -> TocoConfig:
    """The reference code's thresholds on COCO."""
    return replace(
        config,
        contrast=replace(config.contrast, low=0.25, high=0.65),
        labels=replace(config.labels, low=0.25, high=0.65),
        background_threshold=0.45,
    )


PRESETS = {
    "nano": _nano(_toco(DSKD_GC["nano"])),
    "small": _toco(DSKD_GC["small"]),
    "paper": _paper(_toco(DSKD_GC["paper"])),
    COCO: _coco(_paper(_toco(DSKD_GC[COCO]))),
}
