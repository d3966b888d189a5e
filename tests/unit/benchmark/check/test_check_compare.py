"""`check`: tolerances, the recorded file, packed weights and what is printed, without running anything."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from benchmark.check.compare import (
    FACTOR,
    RELATIVE_FLOOR,
    SEED_FACTOR,
    Difference,
    compare,
    reproducibility,
    require_spread,
    tight_tolerance,
    unrecorded,
)
from benchmark.check.reference import Baseline, Reference, Run, as_recorded, load, shared_settings
from benchmark.check.sections import Section, drop_outdated, refresh
from benchmark.check.show import write_junit
from benchmark.check.tiers import ITERATIONS, NO_REFERENCE, Outcome, mean_of, shortened
from benchmark.check.weights import pack, unpack
from benchmark.config import RunConfig, compose, plain
from benchmark.failures import ConfigError
from methods.layers.config import TrainConfig
from methods.registry import all_methods

MIOU = "cam/oracle/train/miou"
IOU = "cam/oracle/train/iou/boat"


def run(value: float | None, seed: int = 0, threads: int = 1, name: str = MIOU) -> Run:
    return Run(seed, threads, "2", "cpu", {name: value})


def failing(runs: list[Run], values: dict[str, float | None], tier: int) -> list[str]:
    return [d.name for d in compare(runs, values, tier, seed=0) if d.fails]


@pytest.mark.parametrize(("value", "wrong"), [(0.5, False), (0.5009, False), (0.4985, True), (0.502, True)])
def test_tier_1_is_tight(value, wrong):
    assert bool(failing([run(0.5)], {MIOU: value}, 1)) is wrong


def test_ratios_above_1_have_a_relative_tolerance():
    assert tight_tolerance("cam/fixed/train/confusion_ratio/boat|water", 4.0) == pytest.approx(0.02)
    assert tight_tolerance("cam/fixed/train/confusion_ratio/boat|water", 0.5) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("recorded", "values", "wrong"),
    [
        (None, {IOU: None}, False),
        (None, {IOU: 0.0}, True),
        (0.2, {IOU: None}, True),
        (0.2, {}, True),
        (None, {}, True),
    ],
)
def test_what_is_missing_or_no_number_differs(recorded, values, wrong):
    assert bool(failing([run(recorded, name=IOU)], values, 1)) is wrong


def test_new_numbers_are_named_not_compared():
    values = {MIOU: 0.5, IOU: 0.1}
    assert failing([run(0.5)], values, 1) == []
    assert unrecorded([run(0.5)], values) == [IOU]


def recorded(*by_seed: list[float]) -> list[Run]:
    """Runs of seeds 0, 1, ..., each under other threads."""
    return [run(v, seed, threads) for seed, values in enumerate(by_seed) for threads, v in enumerate(values)]


def test_tier_2_compares_a_seed_with_its_own_runs():
    """Whatever other seeds do: they tell only how far runs of one seed are apart."""
    runs = recorded([0.29, 0.31], [0.49, 0.51], [0.69, 0.71])
    spread = np.std([-0.01, 0.01], ddof=1)
    (found,) = compare(runs, {MIOU: 0.3}, 2, seed=0)
    assert found.reference == pytest.approx(0.30)
    assert found.tolerance == pytest.approx(FACTOR * spread)
    assert found.runs == 2
    for seed, mean in enumerate([0.3, 0.5, 0.7]):
        for factor, wrong in ((0.98, False), (1.02, True)):
            (found,) = compare(runs, {MIOU: mean + factor * FACTOR * spread}, 2, seed)
            assert found.fails == wrong


@pytest.mark.parametrize("method_miou", [0.2, 0.25, 0.4, 0.85])
def test_tier_2_finds_two_percent_where_a_seed_repeats_itself(method_miou):
    runs = recorded([method_miou, method_miou], [0.3, 0.3001])
    (found,) = compare(runs, {MIOU: 0.98 * method_miou}, 2, seed=0)
    assert found.fails
    (found,) = compare(
        runs, {MIOU: (1 - 0.9 * min(RELATIVE_FLOOR, 0.005 / method_miou)) * method_miou}, 2, seed=0
    )
    assert not found.fails


def test_tier_2_is_never_tighter_than_tier_1():
    (found,) = compare(recorded([0.01, 0.01], [0.02, 0.02]), {MIOU: 0.0109}, 2, seed=0)
    assert not found.fails
    assert found.tolerance == tight_tolerance(MIOU, 0.01)


@pytest.mark.parametrize("runs", [recorded([0.5], [0.6]), recorded([], [0.5, 0.6])])
def test_tier_2_needs_a_spread_and_runs_of_the_seed(runs):
    with pytest.raises(ConfigError, match="measure-spread"):
        require_spread(runs, 0)
    require_spread(recorded([0.5, 0.6]), 0)


def test_numbers_that_come_and_go_are_left_out_of_tier_2():
    assert compare([run(None, 0), run(0.4, 0, 2)], {MIOU: 0.1}, 2, seed=0) == []


def test_a_changed_random_stream_is_told_from_changed_results():
    runs = recorded([0.30, 0.301], [0.32, 0.321], [0.28, 0.281])
    limit = SEED_FACTOR * reproducibility({0: [0.30, 0.301], 1: [0.32, 0.321], 2: [0.28, 0.281]})
    for size, alike in ((0.9, True), (1.1, False)):
        (found,) = compare(runs, {MIOU: 0.3005 + size * limit}, 2, seed=0)
        assert found.fails
        assert found.is_as_another_seed == alike
    (gone,) = compare(runs, {}, 2, seed=0)
    assert gone.fails
    assert not gone.is_as_another_seed


@given(st.integers(2, 6), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_the_spread_is_that_of_a_one_way_analysis_of_variance(seeds, conditions, state):
    """s_R² = s_L² + s_r² with s_L² = (MS between - MS within) / n, where that is not negative."""
    values = np.random.default_rng(state).normal(size=(seeds, conditions)) + np.arange(seeds)[:, None] * 3
    within = values.var(axis=1, ddof=1).mean()
    between = conditions * values.mean(axis=1).var(ddof=1)
    expected = np.sqrt((between - within) / conditions + within)
    assert reproducibility(dict(enumerate(values.tolist()))) == pytest.approx(expected)


def test_equal_repetitions_do_not_shrink_the_spread():
    once = reproducibility({0: [1.0], 1: [2.0], 2: [4.0]})
    assert reproducibility({0: [1.0] * 3, 1: [2.0] * 3, 2: [4.0] * 3}) == pytest.approx(once)


def test_a_reference_is_read_as_it_was_written(tmp_path):
    runs = [run(0.5), replace(run(0.25, 1), values=as_recorded({MIOU: 0.123456789, IOU: float("nan")}))]
    written = Reference(
        tmp_path / "r.json",
        {"scale": "nano"},
        {"images/train": "a"},
        {"m/s": "s-1.safetensors"},
        {"cpu/tier 2": {"m": Baseline({"train": {"iterations": 3}}, runs)}},
    )
    written.save()
    assert load(written.path) == written
    assert runs[1].values == {MIOU: 0.123457, IOU: None}


@pytest.mark.parametrize(("old", "new"), [("0.25", "0.35"), ('"nano"', '"bano"'), ("0.25", "0.25,")])
def test_a_damaged_reference_is_said_and_not_used(tmp_path, old, new):
    Reference(
        tmp_path / "r.json", {"scale": "nano"}, baselines={"cpu/tier 1": {"m": Baseline({}, [run(0.25)])}}
    ).save()
    text = (tmp_path / "r.json").read_text()
    assert old in text
    (tmp_path / "r.json").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=r"--reference .*r\.json: cannot be read \(.*\); restore it"):
        load(tmp_path / "r.json")


def test_only_weights_that_the_file_listed_are_removed(tmp_path):
    """The folder may hold a user's checkpoints."""
    first = Reference(tmp_path / "models.json", weights={"m/s": "s-0.safetensors", "n/s": "s-1.safetensors"})
    first.folder.mkdir()
    for name in ("s-0.safetensors", "s-1.safetensors", "s-2.safetensors", "mine.safetensors"):
        (first.folder / name).touch()
    first.save()
    assert len(list(first.folder.iterdir())) == 4
    again = load(first.path)
    assert again is not None
    again.weights["m/s"] = "s-2.safetensors"
    again.save()
    assert sorted(f.name for f in again.folder.iterdir()) == [
        "mine.safetensors",
        "s-1.safetensors",
        "s-2.safetensors",
    ]


def test_weights_outside_the_folder_are_refused(tmp_path):
    reference = Reference(tmp_path / "r.json", weights={"m/s": "../mine.safetensors"})
    reference.save()
    with pytest.raises(ConfigError, match="which leads out of its folder"):
        load(reference.path)


def recorded_methods(reference: Reference) -> dict[str, list[str]]:
    return {name: list(methods) for name, methods in reference.baselines.items()}


def test_numbers_of_former_weights_are_dropped(tmp_path):
    """Of the retrained a, b and d only a was recorded again, and on the CPU only."""
    sections = ("cpu/tier 1", "cpu/tier 2", "cuda/tier 1")
    reference = Reference(
        tmp_path / "r.json", baselines={s: {m: Baseline({}, [run(0.5)]) for m in "abc"} for s in sections}
    )
    recorded = Section("cpu", 1, outcomes={"a": Outcome("done"), "b": Outcome("failed", "no memory")})
    dropped = drop_outdated(reference, {"a", "b", "d"}, [recorded])
    assert dropped == {"cpu/tier 1": ["b"], "cuda/tier 1": ["a", "b"]}
    assert recorded_methods(reference) == {
        "cpu/tier 1": ["a", "c"],
        "cpu/tier 2": ["a", "b", "c"],
        "cuda/tier 1": ["c"],
    }


def test_what_recording_leaves_out_is_known(tmp_path):
    of_each = {m: Baseline({}, [run(0.5)]) for m in ("cam", "eps")}
    reference = Reference(tmp_path / "r.json", baselines={"cpu/tier 1": of_each, "cuda/tier 1": of_each})
    assert reference.others(["cam", "eps"], ["cpu/tier 1", "cuda/tier 1"]) == []
    assert reference.others(["cam"], ["cpu/tier 1"]) == ["cpu/tier 1 of eps", "cuda/tier 1 of cam, eps"]


def test_a_run_under_the_same_conditions_replaces_the_former():
    baseline = Baseline({}, [run(0.1), run(0.2, threads=2)])
    baseline.add(run(0.3))
    assert [(r.threads, r.values[MIOU]) for r in baseline.runs] == [(2, 0.2), (1, 0.3)]
    for other in ({"instructions": "AVX2"}, {"deterministic": False}):
        baseline.add(replace(run(0.4), **other))
    assert len(baseline.runs) == 4


def refreshed(
    reference: Reference, config: RunConfig, *differences: Difference, status: str = "done"
) -> list[str]:
    found = Section("cpu", 1, outcomes={"cam": Outcome(status)}, differences={"cam": list(differences)})
    return refresh(config, reference, [found])


def of_former_settings(path: Path, config: RunConfig) -> Reference:
    """A reference without a setting that `cam` and the evaluation have now, and with one that is gone."""
    settings, shared = plain(config.method["cam"]), shared_settings(config)
    del settings["background_threshold"], shared["evaluation"]["held_out"]
    runs = {"cam": Baseline({**settings, "gone": 1}, [run(0.5)])}
    return Reference(path, shared, baselines={"cpu/tier 1": runs})


def test_new_settings_are_recorded_where_the_numbers_agree(tmp_path):
    config = compose(["cam"])
    reference = of_former_settings(tmp_path / "r.json", config)
    assert reference.other_values(config) == []
    said = refreshed(reference, config, Difference(MIOU, 0.5, 0.5, 0.001, 1))
    value = config.method["cam"].background_threshold
    assert said == [f"method.cam.background_threshold={value} added", "method.cam.gone=1 removed"]
    baseline = reference.baselines["cpu/tier 1"]["cam"]
    assert baseline.settings == plain(config.method["cam"])
    assert baseline.runs == [run(0.5)]
    assert reference.configuration == shared_settings(config)
    assert refreshed(reference, config) == []


@pytest.mark.parametrize(("value", "status"), [(0.6, "done"), (0.5, "failed"), (0.5, "not run")])
def test_nothing_is_refreshed_where_a_number_differs(tmp_path, value, status):
    config = compose(["cam"])
    reference = of_former_settings(tmp_path / "r.json", config)
    before = copy.deepcopy(reference)
    with pytest.raises(ConfigError, match="cam does not give the numbers recorded of cpu/tier 1"):
        refreshed(reference, config, Difference(MIOU, 0.5, value, 0.001, 1), status=status)
    assert reference == before


def test_a_setting_of_another_value_is_not_new(tmp_path):
    reference = of_former_settings(tmp_path / "r.json", compose(["cam"]))
    now = compose(["cam"], overrides=["method.cam.train.iterations=7", "evaluation.sweep_max=0.5"])
    default = compose(["cam"]).method["cam"].train.iterations
    assert reference.other_values(now) == [
        "evaluation.sweep_max=0.59",
        f"method.cam.train.iterations={default}",
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0}', '{"schema": 1, "baselines": 3}'])
def test_a_file_that_is_no_reference_is_one_line(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigError, match=r"--reference .*r\.json: .*; ?|: of another version"):
        load(tmp_path / "r.json")


def test_packed_weights_come_back_to_8_bits(tmp_path):
    torch.manual_seed(0)
    network = {
        "conv": torch.randn(32, 16, 3, 3) * torch.logspace(-3, 3, 32)[:, None, None, None],
        "zero": torch.zeros(4, 5),
        "bias": torch.randn(32),
        "batches": torch.tensor(7),
    }
    made, back = tmp_path / "made", tmp_path / "back"
    made.mkdir()
    back.mkdir()
    save_file(network, made / "network.safetensors")
    save_file({"head": torch.randn(3, 4)}, made / "head.safetensors")
    for name in ("manifest.json", "losses-1.json", "details.json"):
        (made / name).write_text('{"a": 1}')
    pack(made, tmp_path / "packed.safetensors")
    unpack(tmp_path / "packed.safetensors", back)
    assert sorted(f.name for f in back.iterdir()) == [
        "details.json",
        "head.safetensors",
        "network.safetensors",
    ]
    found = load_file(back / "network.safetensors")
    assert {n: (t.shape, t.dtype) for n, t in found.items()} == {
        n: (t.shape, t.dtype) for n, t in network.items()
    }
    for name in ("zero", "bias", "batches"):
        assert torch.equal(found[name], network[name])
    rows = network["conv"].flatten(1)
    error = (found["conv"].flatten(1) - rows).abs().amax(1) / rows.abs().amax(1)
    assert error.max() <= 0.5 / 127 + 1e-6
    assert error.max() > 0
    assert json.loads((back / "details.json").read_text()) == {"a": 1}
    assert (tmp_path / "packed.safetensors").stat().st_size < (
        made / "network.safetensors"
    ).stat().st_size / 3


@pytest.mark.parametrize("method", [m for m in all_methods().values() if m.default], ids=lambda m: m.name)
def test_every_training_is_shortened(method):
    def trainings(settings) -> list[TrainConfig]:
        if isinstance(settings, TrainConfig):
            return [settings]
        return [
            t
            for part in vars(settings).values()
            if hasattr(part, "__dataclass_fields__")
            for t in trainings(part)
        ]

    before, after = trainings(method.presets["nano"]), trainings(shortened(method.presets["nano"]))
    assert before
    assert len(after) == len(before)
    for long, short in zip(before, after):
        assert short.iterations == min(long.iterations, ITERATIONS)
        assert short.warmup <= short.iterations * 0.5
        assert replace(short, iterations=long.iterations, warmup=long.warmup) == long


def test_junit_counts_what_differs_what_failed_and_what_was_not_compared(tmp_path):
    good, bad = Difference(MIOU, 0.5, 0.5, 0.001, 1), Difference("segmentation/val/miou", 0.5, 0.4, 0.001, 1)
    section = Section("cpu", 1, 2.0)
    section.outcomes = {
        "a": Outcome("done"),
        "b": Outcome("failed", "ValueError: <no> & such"),
        "c": Outcome(NO_REFERENCE, "nothing is recorded"),
    }
    section.differences = {"a": [good, bad]}
    write_junit([section], tmp_path / "deep" / "check.xml")
    (suite,) = ElementTree.parse(tmp_path / "deep" / "check.xml").getroot()
    assert [suite.get(k) for k in ("name", "tests", "failures", "errors", "skipped")] == [
        "check cpu tier 1", "4", "1", "1", "1",
    ]  # fmt: skip
    assert [(c.get("name"), [child.tag for child in c]) for c in suite] == [
        ("a/cam", []),
        ("a/segmentation", ["failure"]),
        ("b", ["error"]),
        ("c", ["skipped"]),
    ]
    assert "segmentation/val/miou: 0.5000 → 0.4000 (-0.1000), tolerance 0.0010" in suite[1][0].text


def test_losses_are_means_over_the_whole_training():
    history = [
        {"iteration": 1, "a": 4.0},
        {"iteration": 3, "a": 1.0, "late": 2.0},
        {"iteration": 4, "a": 2.0, "late": 5.0},
    ]
    assert mean_of(history) == {"a": (4.0 + 2 * 1.0 + 2.0) / 4, "late": (2 * 2.0 + 5.0) / 3}
