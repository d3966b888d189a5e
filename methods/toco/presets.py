"""Presets of single-stage methods by scale: what DSKD-GC and ToCo share, which is DSKD-GC's, and ToCo's."""

from __future__ import annotations

from dataclasses import fields, replace

from datasets.recipe import Recipe
from methods.layers.config import CamInferenceConfig, TrainConfig
from methods.layers.presets import COCO, NANO_VIT, NANO_VIT_TRAIN, SMALL_VIT
from methods.refiners import refiner_at
from methods.toco.config import SingleStageConfig, TocoConfig
from methods.toco.parts import (
    ClassContrastConfig,
    DecoderConfig,
    DistillationConfig,
    LabelConfig,
    LossWeights,
    PhaseConfig,
    TestConfig,
)

SINGLE_STAGE = {
    "nano": SingleStageConfig(
        NANO_VIT,
        pooling="mean",
        decoder=DecoderConfig(width=64, dilation=2, norm=True),
        train=NANO_VIT_TRAIN,
        phases=PhaseConfig(0.35, 0.35),
        weights=LossWeights(segmentation=1.0),
        distillation=DistillationConfig(
            momentum=(0.95, 1.0), hidden=192, bottleneck=48, outputs=256, temperatures=(0.1, 0.04)
        ),
        class_contrast=ClassContrastConfig(
            crops=4, size=32, hidden=192, bottleneck=48, outputs=96, unit_length=True
        ),
        labels=LabelConfig(loss="balanced"),
        inference=CamInferenceConfig(scales=(1.25,), batch_size=32),
        background_threshold=0.45,
        refiner=refiner_at("nano"),
        test=TestConfig(scales=(1.0,), crf=None, batch_size=32),
    ),
    "small": SingleStageConfig(
        SMALL_VIT,
        pooling="mean",
        decoder=DecoderConfig(width=256, dilation=2, norm=True),
        # At the paper's rates, made for 20 000 iterations, the classifiers are still at the classes' shares when the
        # transformer's tokens have become alike. On features that stand still they need 6e-3 for a few hundred.
        train=TrainConfig(
            iterations=300,
            batch_size=12,
            optimiser="adamw",
            learning_rate=1e-5,
            weight_decay=0.01,
            head_multiplier=600.0,
            bias_multiplier=1.0,
            schedule="cosine",
            warmup=40,
            recipe=Recipe(crop=168, resize_crop=(0.32, 1.0)),
        ),
        phases=PhaseConfig(0.25, 0.25),
        weights=LossWeights(segmentation=1.0),
        distillation=DistillationConfig(
            momentum=(0.98, 1.0), hidden=1024, bottleneck=128, outputs=1024, temperatures=(0.1, 0.04)
        ),
        class_contrast=ClassContrastConfig(
            crops=4, size=56, hidden=1024, bottleneck=128, outputs=512, unit_length=True
        ),
        labels=LabelConfig(loss="balanced"),
        inference=CamInferenceConfig(scales=(1.0,), batch_size=4),
        refiner=refiner_at("small"),
        test=TestConfig(scales=(1.0,), flip=False, crf=None, batch_size=4),
    ),
    "paper": SingleStageConfig(
        train=TrainConfig(
            iterations=20000,
            batch_size=4,
            optimiser="adamw",
            learning_rate=6e-5,
            weight_decay=0.01,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            schedule="cosine",
            warmup=1500,
            recipe=Recipe(crop=448, resize_crop=(0.32, 1.0)),
        ),
    ),
}
_VOC = SINGLE_STAGE["paper"]
SINGLE_STAGE[COCO] = replace(
    _VOC,
    train=replace(_VOC.train, iterations=80000, batch_size=8),
    phases=PhaseConfig(5000 / 80000, 5000 / 80000),
    # What the paper leaves open is ToCo's on COCO: batch and thresholds.
    contrast=replace(_VOC.contrast, high=0.65),
    labels=replace(_VOC.labels, background_threshold=0.45, high=0.65),
    background_threshold=0.45,
    refiner=refiner_at(COCO),
)
"""What both single-stage methods share, by scale; either sets its losses, labels and schedule."""


def _toco(config: SingleStageConfig) -> TocoConfig:
    own = TocoConfig(**{f.name: getattr(config, f.name) for f in fields(config)})
    weights = replace(own.weights, classification=0.0, similarity=0.0, uncertain=0.0, class_contrast=0.5)
    labels = replace(own.labels, refinement="par", loss="balanced")
    return replace(own, weights=weights, labels=labels)


def _nano(config: TocoConfig) -> TocoConfig:
    """CAMs of short trainings are lower."""
    return replace(config, labels=replace(config.labels, high=0.55), background_threshold=0.40)


_SCALES = (1.0, 0.5, 1.5)
"""Of the images whose CAMs are added in ToCo's training."""
_COLOURS = Recipe(
    crop=448,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    jitter=0.8,
    grey=0.2,
    blur_sigma=(0.1, 2.0),
)
"""Of all of ToCo's views; they differ in geometry, blur and solarising."""


def _paper(config: TocoConfig) -> TocoConfig:
    """As the reference code trains."""
    return replace(
        config,
        train=replace(config.train, schedule="poly", recipe=replace(_COLOURS, scale=(0.5, 2.0), blur=1.0)),
        contrast=replace(config.contrast, scales=_SCALES),
        class_contrast=replace(
            config.class_contrast,
            crops=8,
            size=96,
            second_view=replace(_COLOURS, resize_crop=(0.4, 1.0), blur=0.1, solarise=0.2),
            local_blur=0.5,
        ),
        labels=replace(config.labels, scales=_SCALES),
    )


def _coco(config: TocoConfig) -> TocoConfig:
    """The reference code's phases and temperature on COCO."""
    iterations = config.train.iterations
    return replace(
        config,
        phases=PhaseConfig(
            0.0, 8000 / iterations, contrast=12000 / iterations, auxiliary_labels=12000 / iterations
        ),
        class_contrast=replace(config.class_contrast, temperature=1.0),
    )


PRESETS = {
    "nano": _nano(_toco(SINGLE_STAGE["nano"])),
    "small": _toco(SINGLE_STAGE["small"]),
    "paper": _paper(_toco(SINGLE_STAGE["paper"])),
    COCO: _coco(_paper(_toco(SINGLE_STAGE[COCO]))),
}
