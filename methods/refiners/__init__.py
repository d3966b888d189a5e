"""Refiners: from CAMs to pseudo-labels. Any CAM can meet any refiner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from datasets.recipe import Recipe
from methods.base import Kind, MethodError, Stage
from methods.layers.config import BackboneConfig, CrfConfig, TrainConfig
from methods.refiners.config import PseudoLabelConfig, RefinerConfig
from methods.refiners.psa.config import PsaConfig

REFINERS = {
    "none": "methods.refiners.threshold:pseudo_label",
    "crf": "methods.refiners.crf:pseudo_label",
    "psa": "methods.refiners.psa.stages:pseudo_label",
}

PSA: Mapping[str, PsaConfig] = {
    "nano": PsaConfig(
        BackboneConfig("resnet38d_nano", "nano/resnet38d_nano", 4),
        init="the miniature's own world",
        train=TrainConfig(
            iterations=60,
            batch_size=16,
            optimiser="adamw",
            learning_rate=1e-3,
            weight_decay=0.01,
            head_multiplier=5.0,
            bias_multiplier=1.0,
            warmup=10,
            recipe=Recipe(crop=80, brightness=0.2, contrast=0.3, saturation=0.4, hue=0.5),
        ),
        crf=CrfConfig(5, 3.0, 3.0, 20.0, 13.0, 10.0),
        crf_stride=2,
        logt=3,  # as far across its grid of 24 x 18 cells as 2^6 steps across 47 x 63
        batch_size=32,
    ),
    "small": PsaConfig(
        BackboneConfig("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite0", 16),
        init="imagenet",
        train=TrainConfig(
            iterations=100,
            batch_size=8,
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=1e-4,
            recipe=Recipe(crop=256, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
        ),
        crf_stride=2,
        logt=6,
    ),
    "paper": PsaConfig(),
}
"""PSA's settings by scale (paper: the reference code's settings for ResNet-38d)."""


def mctformer_psa(psa: PsaConfig) -> RefinerConfig:
    """PSA as MCTformer runs it: other powers and CRF under the labels, and a constant background that walks."""
    size = psa.crf.bilateral_sxy * 83 / 80  # miniature pictures have smaller kernels
    crf = replace(psa.crf, gaussian_sxy=4.0, bilateral_sxy=size, bilateral_srgb=5.0, bilateral_compat=3.0)
    return RefinerConfig(
        "psa",
        background_threshold=0.39,
        psa=replace(psa, crf=crf, label_powers=(1.0, 12.0), background_power=None, logt=min(psa.logt, 6)),
    )


def refiner_stages(config: RefinerConfig, cam: Stage) -> list[Stage]:
    """Stages that turn the CAMs of stage `cam` into pseudo-labels of the training images, which the last yields.

    Raises MethodError for an unknown refiner.
    """
    if config.name not in REFINERS:
        raise MethodError(f"unknown refiner {config.name!r}; there are {', '.join(REFINERS)}")
    threshold = cam.fixed_threshold if config.background_threshold is None else config.background_threshold
    if threshold is None and not (config.name == "psa" and config.psa.background_power is not None):
        raise MethodError(
            f"refiner {config.name} has no refiner.background_threshold, and the CAM none of its own; set it"
        )
    if config.name == "psa":
        return _psa_stages(config.psa, threshold or 0.0, cam)
    crf = config.crf if config.name == "crf" else None
    return [_pseudo_label_stage(config.name, PseudoLabelConfig(threshold or 0.0, crf), cam)]


def _psa_stages(psa: PsaConfig, threshold: float, cam: Stage) -> list[Stage]:
    labels = Stage(
        "affinity_label",
        "methods.refiners.psa.stages:label",
        psa.labels(),
        Kind.TRAINING_LABEL,
        inputs={"cam": cam.name},
        splits=cam.splits,
        seeded=False,
    )
    affinity = Stage(
        "affinity",
        "methods.refiners.psa.stages:train",
        psa.training(),
        Kind.WEIGHTS,
        inputs={"labels": labels.name},
        splits=cam.splits,
        pretrained=(psa.backbone.weights,),
    )
    walk = _pseudo_label_stage("psa", psa.walk(threshold), cam)
    return [labels, affinity, replace(walk, inputs={"cam": cam.name, "affinity": affinity.name})]


def _pseudo_label_stage(name: str, settings: object, cam: Stage) -> Stage:
    return Stage(
        "pseudo_label",
        REFINERS[name],
        settings,
        Kind.PSEUDO_LABEL,
        inputs={"cam": cam.name},
        splits=cam.splits,
        seeded=False,
    )
