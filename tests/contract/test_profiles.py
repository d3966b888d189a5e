"""Every stage with a network hands it out to `profile`, with how images pass through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from benchmark.profiling.complexity import passage_complexity, stage_passages
from benchmark.profiling.speed import passing, pictures
from datasets.base import TrainingView
from datasets.voc.reader import CLASSES
from methods.base import Kind, NotRunnable, Passage, Shared, Stage, settings_of_inputs
from methods.refiners import REFINERS, refiner_stages
from methods.refiners.config import RefinerConfig
from methods.registry import all_methods, find_method

SIZES = {"nano": (40, 56), "small": (120, 160), "paper": (375, 500)}
CASES = [
    (name, scale) for name, method in all_methods().items() for scale in method.presets if scale in SIZES
]
NOT_RUN = {("sam_fused", "small")}
"""Need a file that is not of this project: a SAM of photographs."""


def view_of(scale: str) -> TrainingView:
    """Classes alone: profiles need no images."""
    name, classes = ("shapes", ("boat", "cat", "train")) if scale == "nano" else ("voc2012", CLASSES)
    return TrainingView(name, classes, {"train": (), "val": ()}, generated=scale == "nano")


def stages_of(name: str, scale: str) -> Sequence[Stage]:
    method = find_method(name)
    if (name, scale) in NOT_RUN:
        with pytest.raises(NotRunnable) as needed:
            method.stages(method.presets[scale], view_of(scale), Shared())
        pytest.skip(f"{name} at {scale}: {needed.value}")
    return method.stages(method.presets[scale], view_of(scale), Shared())


def passages(stage: Stage, scale: str, stages: Sequence[Stage]) -> list[Passage]:
    inputs = settings_of_inputs(stage, stages)
    return list(stage_passages(stage, inputs, len(view_of(scale).classes), SIZES[scale]))


def has_network(stage: Stage, stages: Sequence[Stage]) -> bool:
    """It trains one, is handed trained weights, or starts from pretrained ones, and not for evaluation alone."""
    if stage.yields == Kind.IMAGE_SCORES:
        return False
    by_name = {s.name: s for s in stages}
    given = any(by_name[name].yields == Kind.WEIGHTS for name in stage.inputs.values())
    return stage.yields == Kind.WEIGHTS or given or bool(stage.pretrained)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_stages_with_a_network_have_a_profile(name: str, scale: str) -> None:
    stages = stages_of(name, scale)
    assert [s.name for s in stages if has_network(s, stages) and s.profile is None] == []


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_networks_are_counted_on_the_meta_device(name: str, scale: str) -> None:
    every = stages_of(name, scale)
    stages = [s for s in every if s.profile is not None]
    labels = []
    with torch.device("meta"):
        for stage in stages:
            found = passages(stage, scale, every)
            # maps in a folder, or of a detector that is no network of torch's
            assert found or stage.yields == Kind.SALIENCY, stage.name
            for passage in found:
                labels.append((passage.network, passage.covers, passage.size))
                assert passage.module is not None
                assert {p.device.type for p in passage.module.parameters()} == {"meta"}
                counted = passage_complexity(passage)
                assert 0 < counted.layer_macs <= counted.macs
                assert counted.parameters == sum(p.numel() for p in passage.module.parameters())
    assert len(set(labels)) == len(labels)  # rows of a table that could be told apart


@pytest.mark.parametrize("name", [name for name, scale in CASES if scale == "nano"])
def test_images_pass_and_what_follows_takes_it(name: str) -> None:
    stages = stages_of(name, "nano")
    for stage in stages:
        for passage in passages(stage, "nano", stages) if stage.profile is not None else ():
            batch = pictures(2, passage.size, torch.device("cpu"))
            assert passage.module is not None
            assert not passage.module.training
            before = {k: v.clone() for k, v in passage.module.state_dict().items()}
            passing(passage, batch)()
            after: dict[str, Any] = passage.module.state_dict()
            assert all(torch.equal(v, after[k]) for k, v in before.items()), "a pass changes nothing"


@pytest.mark.parametrize("refiner", list(REFINERS))
def test_refiners(refiner: str) -> None:
    config: Any = find_method("cam").presets["nano"]
    chosen = RefinerConfig(refiner, 0.3, psa=config.refiner.psa, irn=config.refiner.irn)
    (cam,) = [s for s in stages_of("cam", "nano") if s.yields == Kind.CAM]
    stages = refiner_stages(chosen, cam)
    profiled = [s for s in stages if s.profile is not None]
    assert bool(profiled) == (refiner != "none")
    assert not any(has_network(s, [cam, *stages]) and s.profile is None for s in stages)
    last = [p for stage in profiled for p in passages(stage, "nano", [cam, *stages])][-1:]
    for passage in last:
        assert passage.finish is not None
        passing(passage, pictures(2, passage.size, torch.device("cpu")))()
