"""Refiners: from CAMs to pseudo-labels. Any CAM can meet any refiner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from datasets.recipe import Recipe
from methods.base import Kind, MethodError, Stage, part
from methods.declared import deviations_of_parts
from methods.layers.config import BackboneConfig, CrfConfig, TrainConfig
from methods.layers.presets import COCO, COCO_IMAGES, NANO_BACKBONE, NANO_RECIPE, NANO_TRAIN, SMALL_BACKBONE
from methods.layers.weights.released import released_stage
from methods.refiners.config import (
    REFINERS,
    ConfidentLabelConfig,
    ParStageConfig,
    PseudoLabelConfig,
    RefinerConfig,
)
from methods.refiners.gc.config import GcStageConfig
from methods.refiners.irn.config import IrnConfig
from methods.refiners.psa.config import PsaConfig

PROFILES = {
    "crf": "methods.refiners.profile:crf",
    "psa": "methods.refiners.psa.profile:pseudo_label",
    "irn": "methods.refiners.irn.profile:pseudo_label",
    "par": "methods.refiners.profile:par",
    "gc": "methods.refiners.gc.profile:pseudo_label",
}
"""`Stage.profile` of the refiners; "none" computes nothing to speak of."""

PSA: Mapping[str, PsaConfig] = {
    "nano": PsaConfig(
        NANO_BACKBONE,
        init="the miniature's own world",
        train=replace(
            NANO_TRAIN,
            iterations=60,
            warmup=10,
            recipe=replace(NANO_RECIPE, scale=(1.0, 1.0)),
        ),
        crf=CrfConfig(5, 3.0, 3.0, 20.0, 13.0, 10.0),
        crf_stride=2,
        logt=3,  # as far across its grid of 24 x 18 cells as 2^6 steps across 47 x 63
        batch_size=32,
    ),
    "small": PsaConfig(
        SMALL_BACKBONE,
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
    COCO: PsaConfig(train=replace(PsaConfig().train, iterations=8 * (COCO_IMAGES // 8))),
}
"""PSA's settings by scale (paper: the reference code's settings for ResNet-38d; on COCO its epochs)."""

IRN: Mapping[str, IrnConfig] = {
    # Published for grids of 125 x 94 cells and crops of 128. Where the grid is smaller, paths are shorter and the
    # walk has fewer steps, so that it goes as far across (a step's length grows with the radius, the way with
    # the square root of the steps); paths in training stay twice as long as in the walk.
    "nano": IrnConfig(  # 24 x 18 cells
        NANO_BACKBONE,
        init="the miniature's own world",
        train=replace(NANO_TRAIN, iterations=60, learning_rate=6.4e-2, warmup=10),  # of the heads alone
        confident_foreground=0.45,
        confident_background=0.15,
        background_threshold=0.35,
        crf=CrfConfig(5, 3.0, 3.0, 12.0, 5.0, 10.0),
        crf_stride=2,
        training_radius=5,
        radius=3,
        exp_times=5,
        batch_size=32,
    ),
    "small": IrnConfig(  # 80 x 60 cells
        SMALL_BACKBONE,
        init="imagenet",
        train=TrainConfig(
            iterations=100,
            batch_size=8,
            learning_rate=0.02,
            momentum=0.9,
            weight_decay=1e-4,
            head_multiplier=10.0,
            bias_multiplier=1.0,
            recipe=Recipe(crop=256, scale=(0.75, 1.5)),
        ),
        crf_stride=2,
        training_radius=7,
        radius=4,
        exp_times=7,
    ),
    "paper": IrnConfig(),
    COCO: IrnConfig(train=replace(IrnConfig().train, iterations=3 * (COCO_IMAGES // 32))),
}
"""IRNet's settings by scale (paper: the published code's for ResNet-50; on COCO its epochs)."""


def refiner_at(key: str, name: str = "none") -> RefinerConfig:
    """A refiner, and those that may be chosen in its place, of a preset's key."""
    return RefinerConfig(name, psa=PSA[key], irn=IRN[key])


def mctformer_psa(psa: PsaConfig, irn: IrnConfig = IRN["paper"]) -> RefinerConfig:
    """PSA as MCTformer runs it: other powers under the labels, and a constant background that walks.

    irn: for those who choose that refiner instead
    """
    return RefinerConfig(
        "psa",
        background_threshold=0.39,
        psa=replace(psa, label_powers=(1.0, 12.0), background_power=None, logt=min(psa.logt, 6)),
        irn=irn,
    )


def refiner_stages(config: RefinerConfig, cam: Stage) -> list[Stage]:
    """Stages that turn the CAMs of stage `cam` into pseudo-labels of the training images.

    The last yields the labels that a segmentation network learns from: these, or those of them that are sure.

    Raises MethodError where there is no threshold.
    """
    if config.name == "irn":
        return _irn_stages(config.irn, cam)
    threshold = cam.fixed_threshold if config.background_threshold is None else config.background_threshold
    powers = {"psa": config.psa.background_power, "crf": config.crf_background_power}
    if threshold is None and powers.get(config.name) is None:
        raise MethodError(
            f"refiner {config.name} has no refiner.background_threshold, and the CAM none of its own; set it"
        )
    if config.name == "psa":
        return _psa_stages(config.psa, threshold or 0.0, cam)
    if config.name == "par":
        par = part(ParStageConfig, config.par, background_threshold=threshold or 0.0)
        return [_pseudo_label_stage("par", par, cam)]
    if config.name == "gc":
        return _gc_stages(config, threshold or 0.0, cam)
    settings = PseudoLabelConfig(threshold or 0.0)
    if config.name == "crf":
        power = config.crf_background_power
        constant = (threshold or 0.0) if power is None else 0.0
        settings = PseudoLabelConfig(constant, config.crf, power, config.crf_confidence)
    labels = _pseudo_label_stage(config.name, settings, cam)
    return [labels, _confident_stage(labels)] if settings.confidence > 0 else [labels]


def uncorrected_stage(cam: Stage, threshold: float) -> Stage:
    """The labels that Gaussian correction starts from, so that they are scored too, under a name of their own."""
    name = "pseudo_label_uncorrected"
    plain = _pseudo_label_stage("none", PseudoLabelConfig(threshold), cam)
    return replace(plain, name=name, scored_as=name)


def _confident_stage(labels: Stage) -> Stage:
    return Stage(
        "confident_label",
        "methods.refiners.crf:confident_label",
        ConfidentLabelConfig(),
        Kind.TRAINING_LABEL,
        inputs={"labels": labels.name},
        splits=labels.splits,
        seeded=False,
    )


def _gc_stages(config: RefinerConfig, threshold: float, cam: Stage) -> list[Stage]:
    backbone = config.gc.backbone or config.psa.backbone
    settings = part(GcStageConfig, config.gc, backbone=backbone, background_threshold=threshold)
    corrected = _pseudo_label_stage("gc", settings, cam)
    return [uncorrected_stage(cam, threshold), replace(corrected, pretrained=(backbone.weights,))]


def _psa_stages(psa: PsaConfig, threshold: float, cam: Stage) -> list[Stage]:
    if psa.network_checkpoint is None:
        learned = _learned_stages("psa", "affinity", psa.labels(), psa.training(), psa.backbone.weights, cam)
    else:
        learned = [_released("psa", "affinity", psa.network_checkpoint, psa.backbone)]
    return [*learned, _walk_stage("psa", psa.walk(threshold), cam, learned[-1])]


def _irn_stages(irn: IrnConfig, cam: Stage) -> list[Stage]:
    if irn.network_checkpoint is None:
        learned = _learned_stages(
            "irn", "inter_pixel", irn.labels(), irn.training(), irn.backbone.weights, cam
        )
    else:
        learned = [_released("irn", "inter_pixel", irn.network_checkpoint, irn.backbone)]
    return [*learned, _walk_stage("irn", irn.walk(), cam, learned[-1])]


def _learned_stages(
    refiner: str, learned: str, labels: object, training: object, weights: str, cam: Stage
) -> list[Stage]:
    """Label maps made of the CAM, and a network that starts from `weights` and learns from them."""
    label = Stage(
        f"{learned}_label",
        f"methods.refiners.{refiner}.stages:label",
        labels,
        Kind.TRAINING_LABEL,
        inputs={"cam": cam.name},
        splits=cam.splits,
        seeded=False,
    )
    train = Stage(
        learned,
        f"methods.refiners.{refiner}.stages:train",
        training,
        Kind.WEIGHTS,
        inputs={"labels": label.name},
        splits=cam.splits,
        pretrained=(weights,),
        profile=f"methods.refiners.{refiner}.profile:train",
    )
    return [label, train]


def _released(refiner: str, learned: str, checkpoint: str, backbone: BackboneConfig) -> Stage:
    return released_stage(learned, f"methods.refiners.{refiner}.stages:released", checkpoint, backbone)


def _walk_stage(refiner: str, settings: object, cam: Stage, learned: Stage) -> Stage:
    """The CAM walks along what a network has learned."""
    stage = _pseudo_label_stage(refiner, settings, cam)
    return replace(stage, inputs={"cam": cam.name, learned.name: learned.name})


def _pseudo_label_stage(name: str, settings: object, cam: Stage) -> Stage:
    return Stage(
        "pseudo_label",
        REFINERS[name],
        settings,
        Kind.PSEUDO_LABEL,
        inputs={"cam": cam.name},
        splits=cam.splits,
        seeded=False,
        profile=PROFILES.get(name),
        deviations=deviations_of_parts(Path(__file__).parent).get(name, ()),
    )
