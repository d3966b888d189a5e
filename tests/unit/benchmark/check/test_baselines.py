"""The numbers that the repository records for `check` are of every method of `--methods all`, as it is set up now."""

from __future__ import annotations

import pytest

from benchmark.check.compare import SPREAD_TIER, compare, of_one_thread
from benchmark.check.reference import Reference, default_path, load, section, shared_settings
from benchmark.check.tiers import SEED
from benchmark.config import RunConfig, compose, plain
from benchmark.planning.changes import differences
from methods.registry import all_methods

METHODS = [name for name, method in all_methods().items() if method.default]
REMEDY = (
    "record them: python -m benchmark check --refresh where a setting was added and no number changed, else "
    "python -m benchmark check --update --train"
)


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


@pytest.mark.parametrize("name", METHODS)
def test_two_percent_less_of_a_methods_miou_is_found(name: str, reference: Reference) -> None:
    """In each of its recorded runs, so whatever the machine; and none of them fails as it is."""
    runs = of_one_thread(reference.baselines[section("cpu", SPREAD_TIER)][name].runs)
    for run in (run for run in runs if run.seed == SEED):
        less = {n: 0.98 * (v or 0.0) if n.endswith("/miou") else v for n, v in run.values.items()}
        assert any(d.fails for d in compare(runs, less, SPREAD_TIER, SEED))
        assert not [d for d in compare(runs, run.values, SPREAD_TIER, SEED) if d.fails]


def test_no_environment_is_out_of_the_others_spread(reference: Reference) -> None:
    """The oldest torch that is allowed, left out of what it is compared with: chance lets few numbers fail."""
    baselines = reference.baselines[section("cpu", SPREAD_TIER)].values()
    several = [b for b in baselines if len({run.torch for run in b.runs}) > 1]
    if not several:
        pytest.skip("recorded with one torch; check --measure-spread with another adds its runs")
    failing = compared = 0
    for baseline in several:
        oldest = min(run.torch for run in baseline.runs)
        others = [run for run in baseline.runs if run.torch != oldest]
        for run in (run for run in baseline.runs if run.torch == oldest):
            found = compare(others, run.values, SPREAD_TIER, run.seed)
            failing, compared = failing + sum(d.fails for d in found), compared + len(found)
    assert compared > 200
    assert failing <= 0.015 * compared


def test_the_settings_that_methods_share_are_the_present_ones() -> None:
    config = compose(METHODS, overrides=["dataset.subset=64"])
    reference = load(default_path(config))
    assert reference is not None
    now, then = shared_settings(config), reference.configuration
    changed = [*differences(now, then), *differences(then, now)]
    assert not changed, f"recorded with other settings: {', '.join(changed)}; {REMEDY}"


def test_all_recorded_weights_are_there_and_nothing_else_is(reference: Reference) -> None:
    assert {file.name for file in reference.folder.iterdir()} == set(reference.weights.values())
