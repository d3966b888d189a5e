"""Refiners: from CAMs to pseudo-labels. Any CAM can meet any refiner."""

from __future__ import annotations

from dataclasses import replace

from methods.base import Kind, MethodError, Stage
from methods.refiners.config import RefinerConfig

REFINERS = {
    "none": "methods.refiners.threshold:pseudo_label",
    "crf": "methods.refiners.crf:pseudo_label",
}


def pseudo_label_stage(config: RefinerConfig, cam: Stage, name: str = "pseudo_label") -> Stage:
    """The stage that turns the CAMs of stage `cam` into pseudo-labels of the training images."""
    if config.name not in REFINERS:
        raise MethodError(f"unknown refiner {config.name!r}; there are {', '.join(REFINERS)}")
    if config.background_threshold is None:
        config = replace(config, background_threshold=cam.fixed_threshold)
    return Stage(
        name,
        REFINERS[config.name],
        config,
        Kind.PSEUDO_LABEL,
        inputs={"cam": cam.name},
        splits=cam.splits,
        seeded=False,
    )
