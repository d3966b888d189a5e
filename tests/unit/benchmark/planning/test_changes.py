"""What of a run's settings is not the default: part of what tells runs apart."""

from __future__ import annotations

import pytest

import datasets
from benchmark.config import PROTOCOLS, SCALES, compose
from benchmark.planning.changes import differences, reference_changes, run_changes, run_identity
from methods.registry import all_methods


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_defaults_are_no_changes(scale: str, protocol: str) -> None:
    names = [name for name, method in all_methods().items() if scale in method.presets]
    config = compose(names, None, scale, protocol)
    assert {name: run_changes(config, name) for name in names} == dict.fromkeys(names, "")
    for dataset in datasets.names():
        assert reference_changes(compose([], dataset, scale, protocol)) == ""


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("method.eps.foreground_weight=0.4", "foreground_weight=0.4"),
        ("method.eps.inference.scales=[1.0]", "inference.scales=[1.0]"),
        ("method.eps.inference.flip=false", "inference.flip=false"),
        ("method.cam.background_threshold=0.9", ""),
        ("dataset.train=6", "dataset.train=6"),
        ("dataset.root=elsewhere", ""),
        ("evaluation.held_out=0.3", "evaluation.held_out=0.3"),
        ("evaluation.panels=1", ""),
        ("runtime.precision=bf16-mixed", "runtime.precision=bf16-mixed"),
        ("runtime.max_iterations=3", "runtime.max_iterations=3"),
        ("runtime.workers=1", ""),
        ("runtime.accumulate=2", ""),
        ("method.eps.train.batch_size=4", "train.batch_size=4"),
        ("method.eps.inference.batch_size=1", ""),
        ("method.eps.segmenter.test_batch_size=1", ""),
    ],
)
def test_what_decides_numbers_is_named(override: str, expected: str) -> None:
    assert run_changes(compose(["eps", "cam"], overrides=[override]), "eps") == expected


def test_the_place_of_data_that_are_given_tells_them_apart() -> None:
    config = compose(["cam"], "folder", overrides=["dataset.root=MINE"])
    assert run_changes(config, "cam") == reference_changes(config) == "dataset.root=MINE"


def test_an_optional_part_that_is_switched_on() -> None:
    config = compose(["cam"], overrides=["protocol.refiner.name=par", "protocol.refiner.par.iterations=3"])
    assert run_identity(config, "cam", 0)["refiner"] == "par"
    assert "protocol.refiner.par.iterations=3" in run_changes(config, "cam").split("; ")


def test_the_parts_of_a_grid_are_no_changes() -> None:
    config = compose(["cam"], refiner="par", segmenter="aspp")
    identity = run_identity(config, "cam", 0)
    assert (identity["refiner"], identity["segmenter"], identity["changes"]) == ("par", "aspp", "")


def test_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_changes(compose(["cam"]), "cam") == "processes=2"


def test_differences_of_nested_settings() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": "x"}
    after = {"a": {"b": 1.0, "c": [1, 3]}, "d": {"f": True}, "e": "y; z"}
    assert differences(after, before) == ["a.c=[1, 3]", "d.f=true", "e=y; z"]
