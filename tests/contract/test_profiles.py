"""Every refiner with a network or a CRF hands it out to `profile`; of methods see `MethodContract`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from benchmark.planning.graph import without_profile
from benchmark.profiling.complexity import stage_forward_passes
from benchmark.profiling.speed import passing, pictures
from datasets.base import TrainingView
from methods.base import Kind, Shared, Stage, settings_of_inputs
from methods.refiners import REFINERS, refiner_stages
from methods.refiners.config import RefinerConfig
from methods.registry import find_method

SIZE = (40, 56)
CLASSES = ("boat", "cat", "train")
VIEW = TrainingView("shapes", CLASSES, {"train": (), "val": ()}, generated=True)
"""Classes alone: profiles need no images."""


@pytest.mark.parametrize("refiner", list(REFINERS))
def test_refiners(refiner: str) -> None:
    method = find_method("cam")
    config: Any = method.presets["nano"]
    chosen = RefinerConfig(refiner, 0.3, psa=config.refiner.psa, irn=config.refiner.irn)
    before: Sequence[Stage] = method.stages(config, VIEW, Shared())
    (cam,) = [s for s in before if s.yields == Kind.CAM]
    stages = refiner_stages(chosen, cam)
    profiled = [s for s in stages if s.profile is not None]
    assert bool(profiled) == (refiner != "none")
    assert [s for s in without_profile([*before, *stages]) if s in stages] == []
    every = [*before, *stages]
    forward_passes = [
        stage_forward_passes(s, settings_of_inputs(s, every), len(CLASSES), SIZE) for s in profiled
    ]
    last = [forward_pass for each in forward_passes for forward_pass in each][-1:]
    for forward_pass in last:
        assert forward_pass.finish is not None
        passing(forward_pass, pictures(2, forward_pass.size, torch.device("cpu")))()
