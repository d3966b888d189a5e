"""The numbers that the repository records for `check` are of every method of `--methods all`, as it is set up now."""

from __future__ import annotations

import pytest

from benchmark.check.reference import Reference, default_path, load, section, shared_settings
from benchmark.config import RunConfig, compose, plain
from benchmark.planning.changes import differences
from methods.registry import all_methods

METHODS = [name for name, method in all_methods().items() if method.default]
REMEDY = "record them: python -m benchmark check --update --train"


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return compose(METHODS)


@pytest.fixture(scope="module")
def reference(config: RunConfig) -> Reference:
    path = default_path(config)
    found = load(path)
    assert found is not None, f"no {path}; {REMEDY}"
    return found


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_all_has_numbers_of_its_present_settings(
    name: str, tier: int, config: RunConfig, reference: Reference
) -> None:
    path = default_path(config)
    baseline = reference.baselines.get(section("cpu", tier), {}).get(name)
    assert baseline is not None, f"{name} has no numbers of tier {tier} in {path}; {REMEDY}"
    now = plain(config.method[name])
    changed = [*differences(now, baseline.settings), *differences(baseline.settings, now)]
    assert not changed, (
        f"{name}: tier {tier} was recorded with other settings: {', '.join(changed)}; {REMEDY}"
    )


def test_the_settings_that_methods_share_are_the_present_ones() -> None:
    config = compose(METHODS, overrides=["dataset.subset=64"])
    reference = load(default_path(config))
    assert reference is not None
    now, then = shared_settings(config), reference.configuration
    changed = [*differences(now, then), *differences(then, now)]
    assert not changed, f"recorded with other settings: {', '.join(changed)}; {REMEDY}"


def test_all_recorded_weights_are_there_and_nothing_else_is(reference: Reference) -> None:
    assert {file.name for file in reference.folder.iterdir()} == set(reference.weights.values())
