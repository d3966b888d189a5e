"""Ranges of `tune`: how they are written, which settings come of them, and what methods declare."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark.commands.tune import settings_to_try
from benchmark.config import SCALES, compose, plain
from benchmark.failures import ConfigError
from benchmark.planning.graph import SCORED
from benchmark.planning.tuning_file import Declared, declared, read, threshold_notes
from benchmark.tuning.ranges import Range, every_combination, read_range, settings_of_trials
from benchmark.tuning.trials import threshold_keys
from datasets import dataset_class
from datasets.base import TrainingView
from methods.base import Kind, Stage
from methods.registry import all_methods, find_method

PREFIX = "method.cam."


def range_of(text: str) -> Range:
    return read_range(PREFIX + text, plain(compose(["cam"]).method["cam"]), PREFIX)


@pytest.mark.parametrize("name", all_methods())
def test_the_keys_of_a_cams_threshold_are_found(name):
    method, config = find_method(name), compose([name])
    view = TrainingView("shapes", dataset_class("shapes").classes, {"train": (), "val": ()}, generated=True)
    data = SimpleNamespace(training_view=lambda: view)
    stages = method.stages(config.method[name], view, config.shared)
    cams = [s for s in stages if s.yields == Kind.CAM and (s.scored_as or SCORED[s.yields]) == "cam"]
    keys = threshold_keys(config, name, SimpleNamespace(dataset=data))
    assert len(keys) == bool(cams and cams[0].fixed_threshold is not None)


@pytest.mark.parametrize(
    ("text", "first", "middle", "last"),
    [
        ("train.learning_rate=[1e-4,1e-2]", "0.0001", "0.001", "0.01"),
        ("dropout=[0.2,0.4]", "0.2", "0.3", "0.4"),
        ("dropout=interval(0.01,0.5)", "0.01", "0.255", "0.5"),
        ("dropout=tag(log, interval(0.2,0.4))", "0.2", "0.283", "0.4"),
        ("train.iterations=[100,300]", "100", "200", "300"),
        ("train.iterations=range(100,301,100)", "100", "200", "300"),
        ("train.optimiser=sgd,adamw", "sgd", "adamw", "adamw"),
        ("inference.scales=[1.0],[0.5,1.0]", "[1.0]", "[0.5,1.0]", "[0.5,1.0]"),
    ],
)
def test_a_range_as_hydra_has_it(text, first, middle, last):
    found = range_of(text)
    key = PREFIX + text.partition("=")[0]
    assert [found.at(place) for place in (0.0, 0.5, 0.9999)] == [
        f"{key}={value}" for value in (first, middle, last)
    ]
    for end in found.ends():
        compose(["cam"], overrides=[end])


@pytest.mark.parametrize(
    "text",
    [
        "dropout",
        "dropout=0.1",
        "dropout=[0.1]",
        "dropout=[a,b]",
        "dropout=[0.4,0.2]",
        "dropout=tag(log, interval(0,1))",
        "dropout=[0,1e999]",
        "dropout=[nan,1]",
        "dropout=range(0,1,0)",
        "dropout=range(0,1,-0.1)",
        "dropout=range(0,1,1e-9)",
    ],
)
def test_what_is_no_range_is_one_line(text):
    with pytest.raises(ConfigError, match=r"--over 'method\.cam\.dropout"):
        range_of(text)


def test_more_combinations_than_anybody_means_are_refused():
    with pytest.raises(ConfigError, match="there are 40000 combinations"):
        every_combination([Range(key, choices=tuple(range(200))) for key in ("a", "b")])


def test_trials_begin_with_the_preset_and_are_each_other_than_those_before():
    ranges = [range_of("train.learning_rate=[1e-4,1e-2]"), range_of("dropout=[0,0.5]")]
    eight = settings_of_trials("cam", ranges, 8, draw=0)
    assert eight[0] == ()
    assert len(set(eight)) == 8
    assert settings_of_trials("cam", ranges, 5, draw=0) == eight[:5]
    assert settings_of_trials("cam", ranges, 5, draw=1)[1:] != eight[1:5]


def test_all_methods_have_the_same_budget():
    with pytest.raises(ConfigError, match="give --trials 3 or wider ranges"):
        settings_of_trials("cam", [range_of("dropout=0.1,0.2")], 4, draw=0)


def test_a_grid_is_every_combination_of_choices():
    found = every_combination([range_of("dropout=0.1,0.2"), range_of("train.optimiser=sgd,adamw")])
    assert found[0] == ()
    assert len(found) == 5
    assert found[2] == ("method.cam.dropout=0.1", "method.cam.train.optimiser=adamw")
    with pytest.raises(ConfigError, match="range without single values"):
        every_combination([range_of("dropout=[0.1,0.2]")])


DECLARING = [
    (method.name, scale)
    for method in all_methods().values()
    for scale in SCALES
    if declared(method).ranges.get(scale)
]


@pytest.mark.parametrize(("name", "scale"), DECLARING)
def test_declared_ranges_are_of_settings_that_there_are(name, scale):
    """As many trials as one asks for, and the preset lies within: what `tune` tries is near it."""
    config = compose([name], None, scale)
    assert len(settings_to_try(name, config, (), False, 4, 0)) == 4


@pytest.mark.parametrize(
    ("name", "scale"),
    [(m.name, scale) for m in all_methods().values() for scale in declared(m).chosen_with_masks],
)
def test_thresholds_said_to_be_chosen_with_masks_are_those_of_presets(name, scale):
    method, config = find_method(name), compose([name], None, scale)
    classes = dataset_class(config.dataset.name).classes if scale == "nano" else ("cat", "dog")
    view = TrainingView(config.dataset.name, classes, {"train": (), "val": ()}, generated=scale == "nano")
    stages = method.stages(config.method[name], view, config.shared)
    cams = [s for s in stages if s.yields == Kind.CAM and (s.scored_as or SCORED[s.yields]) == "cam"]
    assert all(threshold_notes(method, stage, scale) for stage in cams)
    assert cams


def test_a_threshold_chosen_with_masks_is_noted_while_it_is_used(tmp_path):
    (tmp_path / "tuning.yaml").write_text('chosen_with_masks: {nano: {0.25: "the oracle\'s"}}\n')

    class Marked(type(find_method("cam"))):  # type: ignore[misc]
        folder = tmp_path

    def noted(threshold: float | None, scale: str = "nano") -> list[str]:
        return threshold_notes(
            Marked(), Stage("cam", "m:f", None, Kind.CAM, fixed_threshold=threshold), scale
        )

    assert noted(0.25) == ["fixed: masks were used to choose its threshold 0.25: the oracle's"]
    assert noted(0.3) == noted(None) == noted(0.25, "paper") == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "not YAML"),
        ("- a", "should have ranges"),
        ("range: {}", "should have ranges"),
        ("ranges: {tiny: []}", "should map scales"),
        ("ranges: {nano: [1]}", "should map scales"),
        ("chosen_with_masks: {nano: {high: a}}", "should map scales to thresholds"),
    ],
)
def test_a_faulty_declaration_is_one_line(tmp_path: Path, text, why):
    (tmp_path / "tuning.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"tuning\.yaml: .*{why}"):
        read(tmp_path / "tuning.yaml")


def test_a_method_need_not_declare_anything(tmp_path: Path):
    assert read(tmp_path / "tuning.yaml") == Declared()
