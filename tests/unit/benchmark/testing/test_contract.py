"""`MethodContract` notices what breaks it; that every registered method keeps it is tested in tests/contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.testing.contract import STEPS, MethodContract
from datasets.base import Sample, TrainingView
from methods.artifacts import Cam, write_cams
from methods.base import Kind, Stage
from tests.helpers.toys import Toy
from tests.helpers.trees import write_image

SIZE = (16, 24)
"""(H, W) of the images."""
WHOLE = {
    "a": Cam(np.full((2, 4, 6), 0.5, np.float16), (0, 2), SIZE),
    "b": Cam(np.zeros((1, 4, 6)), (1,), SIZE),
}


def of_maps(maps: np.ndarray) -> dict[str, Cam]:
    return {**WHOLE, "a": replace(WHOLE["a"], maps=maps)}


def done(folder: Path, stage: Stage) -> Any:
    """A finished run of one stage, whose artifact is the folder."""
    planned = SimpleNamespace(stage=stage)
    return SimpleNamespace(
        run=SimpleNamespace(stages=[planned]), artifacts={stage.name: SimpleNamespace(path=folder)}
    )


def check_cams(folder: Path, cams: Mapping[str, Cam]) -> None:
    write_cams(folder / "shard.safetensors", cams)
    samples = []
    for name, labels in (("a", (0, 2)), ("b", (1,))):
        write_image(folder / f"{name}.png", size=SIZE[::-1])
        samples.append(Sample(name, folder / f"{name}.png", labels))
    view = TrainingView("drawn", ("x", "y", "z"), {"train": tuple(samples)})
    trial: Any = SimpleNamespace(view=lambda: view)
    stage = Stage("cam", "nowhere:run", None, Kind.CAM)
    MethodContract().test_its_cams_fit_the_images(done(folder, stage), trial)


def test_cams_as_they_should_be_pass(tmp_path: Path) -> None:
    check_cams(tmp_path, WHOLE)


@pytest.mark.parametrize(
    ("cams", "words"),
    [
        ({"a": WHOLE["a"]}, "stage cam: images"),
        (of_maps(np.full((2, 4, 6), 1.5)), "values in"),
        (of_maps(np.full((2, 4, 6), np.nan)), "values in"),
        (of_maps(np.zeros((1, 4, 6))), "a map a class"),
        ({**WHOLE, "a": replace(WHOLE["a"], classes=(2, 0))}, "image a"),
        ({**WHOLE, "b": replace(WHOLE["b"], size=SIZE[::-1])}, "image b"),
    ],
)
def test_cams_that_do_not_fit_fail(tmp_path: Path, cams: Mapping[str, Cam], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_cams(tmp_path, cams)


@pytest.mark.parametrize(
    ("history", "fails"),
    [
        ([{"iteration": STEPS, "loss": 0.5}], False),
        ([{"iteration": STEPS, "loss": float("nan")}], True),
        ([{"iteration": STEPS - 1, "loss": 0.5}], True),
        (None, True),
    ],
)
def test_trainings_that_did_not_take_place_fail(tmp_path: Path, history: Any, fails: bool) -> None:
    if history is not None:
        (tmp_path / "losses-1.json").write_text(json.dumps(history))
    finished = done(tmp_path, Stage("classify", "nowhere:run", None, Kind.WEIGHTS))
    if fails:
        with pytest.raises(AssertionError):
            MethodContract().test_it_trains(finished)
    else:
        MethodContract().test_it_trains(finished)


class Misspelt(Toy):
    def stages(self, *arguments: Any) -> list[Stage]:
        return [replace(stage, run="tests.helpers.toys:fil") for stage in super().stages(*arguments)]


class Unprofiled(Toy):
    def stages(self, *arguments: Any) -> list[Stage]:
        return [replace(stage, yields=Kind.WEIGHTS) for stage in super().stages(*arguments)]


class Changing(Toy):
    """Its settings differ from call to call, so nothing that is stored would be found again."""

    calls = 0

    def stages(self, *arguments: Any) -> list[Stage]:
        self.calls += 1
        return [
            replace(s, settings=replace(s.settings, value=self.calls)) for s in super().stages(*arguments)
        ]


def test_declarations_that_would_fail_later_fail(third_party: Any) -> None:
    third_party(Toy("sound"), Misspelt("misspelt"), Unprofiled("unprofiled"), Changing("changing"))
    contract = MethodContract()
    contract.test_it_plans_at_every_scale("sound", "paper")
    contract.test_its_networks_are_counted("sound")
    with pytest.raises(AssertionError, match="has no 'fil'"):
        contract.test_it_plans_at_every_scale("misspelt", "paper")
    with pytest.raises(AssertionError, match="settings differ"):
        contract.test_it_plans_at_every_scale("changing", "unified")
    with pytest.raises(AssertionError, match="have no `profile`"):
        contract.test_its_networks_are_counted("unprofiled")
