"""A setting that a method offers is one that its graph follows."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from datasets.base import TrainingView
from methods.base import Shared
from methods.refiners.config import REFINERS
from methods.registry import all_methods

DRAWN = TrainingView("shapes", ("boat", "cat", "train"), {"train": (), "val": ()}, generated=True)
REFINED = [
    name for name, method in all_methods().items() if "refiner" in {f.name for f in fields(method.config)}
]


@pytest.mark.parametrize("name", REFINED)
def test_a_refiner_that_can_be_set_makes_the_pseudo_labels(name: str) -> None:
    method = all_methods()[name]
    config: Any = method.presets["nano"]
    config = replace(config, refiner=replace(config.refiner, name="crf"))
    if hasattr(config, "labels"):  # single-stage: `labels.refinement` leaves it to the refiner
        config = replace(config, labels=replace(config.labels, refinement="none"))
    runs = {stage.name: stage.run for stage in method.stages(config, DRAWN, Shared())}
    assert runs["pseudo_label"] == REFINERS["crf"]
