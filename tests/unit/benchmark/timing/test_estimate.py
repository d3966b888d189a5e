"""How long a plan will take is told by stored stages that are like its own, else by recorded ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.commands import record_times
from benchmark.config import compose, plain
from benchmark.failures import ConfigError
from benchmark.planning.plan import Plan, make_plan
from benchmark.provenance import cpu_name
from benchmark.store import Store
from benchmark.timing import estimate, reference_times
from benchmark.timing.estimate import (
    Estimates,
    leaves,
    megapixels,
    nearest,
    scoring_of,
    time_estimate,
    work_of,
)
from benchmark.timing.machine_speed import FILE as SPEED_FILE
from benchmark.timing.machine_speed import machine_speed, remembered_speed
from benchmark.timing.reference_times import ReferenceTimes, Timed
from benchmark.timing.remaining import Remaining
from datasets.files.sealed import sealed
from methods.base import Kind
from methods.layers.config import TrainConfig
from methods.registry import all_methods
from tests.helpers.toys import CommandLine, Toy

IMAGES = 2
FUNCTION = "tests.helpers.toys:fill"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts times in the place of the project's recorded ones; there are none at first."""

    def record(speed: float = 1.0, **times: list[Timed]) -> None:
        of = {name.replace("__", ":").replace("_of_", " of "): found for name, found in times.items()}
        found = ReferenceTimes("a machine, 1 thread", speed, of)
        monkeypatch.setattr(estimate, "reference_times", lambda scale: found)

    record()
    return record


@pytest.fixture
def plan(third_party, recorded, tmp_path: Path) -> Plan:
    third_party(Toy("toy"))
    data = [f"dataset.root={tmp_path / 'data'}", f"dataset.train={IMAGES}", "dataset.val=2"]
    config = compose(["toy"], overrides=[f"runtime.store={tmp_path / 'store'}", "method.toy.value=3", *data])
    return make_plan(config, [0, 1])


def store(plan: Plan, key: str, seconds: float, **changes: Any) -> None:
    """A finished artifact of the plan's stage, by its manifest alone."""
    planned = plan.runs[0].stages[0]
    manifest = {
        "run": planned.stage.run,
        "kind": planned.stage.yields.value,
        "settings": plain(planned.stage.settings),
        "classes": list(plan.dataset.classes),
        "megapixels": megapixels(plan.dataset, ("train",)),
        "seconds": seconds,
        "resumed": False,
        "files": {},
        **changes,
    }
    write(plan.store.path(planned.stage.name, key), manifest)


def store_scores(plan: Plan, key: str, seconds: float, **changes: Any) -> None:
    """As `store`, its scores."""
    planned = plan.runs[0].stages[0]
    manifest = {
        "kind": "scores",
        "scored": planned.stage.yields.value,
        "classes": list(plan.dataset.classes),
        "megapixels": megapixels(plan.dataset, ("train",)),
        "seconds": seconds,
        "files": {},
        **changes,
    }
    write(plan.store.path(planned.score_name, key), manifest)


def write(folder: Path, manifest: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(sealed({"key": folder.name, **manifest})))


def test_nothing_is_known_without_stored_or_recorded_stages(plan: Plan) -> None:
    found = time_estimate(plan)
    assert (found.seconds, found.todo, found.unknown) == (0.0, 2, 2)
    assert str(found) == "nothing is known yet of how long this takes"


def test_the_settings_most_like_its_own_tell(plan: Plan) -> None:
    like = plain(plan.runs[0].stages[0].stage.settings)
    store(plan, "a", 10.0)
    store(plan, "b", 12.0)
    store(plan, "c", 300.0, settings={**like, "value": 1})
    store(plan, "d", 300.0, classes=["something else"])
    store(plan, "e", 300.0, run="another:function")
    store(plan, "f", 1.0, resumed=True)
    store_scores(plan, "a", 1.0)
    store_scores(plan, "b", 300.0, scored=Kind.CAM.value)
    found = time_estimate(plan)
    assert (found.seconds, found.todo, found.unknown) == (24.0, 2, 0)
    assert str(found) == "about 24 s, by the times of earlier ones"


def test_scoring_counts_and_is_said_where_nothing_is_known_of_it(plan: Plan) -> None:
    store(plan, plan.runs[0].stages[0].key, 10.0)
    found = time_estimate(plan)
    assert (found.seconds, found.todo, found.unknown) == (10.0, 1, 2)  # the scoring of what is stored, too
    store_scores(plan, "a", 2.0)
    found = time_estimate(plan)
    assert (found.seconds, found.todo, found.unknown) == (14.0, 1, 0)


def test_what_is_stored_takes_no_time(plan: Plan) -> None:
    planned = plan.runs[0].stages[0]
    store(plan, planned.key, 10.0)
    assert planned.score_key is not None
    store_scores(plan, planned.score_key, 2.0)
    assert time_estimate(plan).seconds == 12.0


def test_more_images_take_longer(plan: Plan) -> None:
    store(plan, "a", 10.0, megapixels=megapixels(plan.dataset, ("train",)) / 8)
    stage = Estimates(plan).stage(plan.runs[0].stages[0])
    assert stage is not None
    assert stage.seconds == pytest.approx(80)


def test_recorded_times_tell_where_the_store_has_none(plan: Plan, recorded) -> None:
    size = megapixels(plan.dataset, ("train",))
    own = leaves(plain(plan.runs[0].stages[0].stage.settings))
    like, other = Timed(size / 2, own, 3.0), Timed(size, frozenset(), 500.0)
    recorded(4.0, tests_toys__fill=[other])
    assert time_estimate(plan).unknown == 2  # another function's
    times = {FUNCTION: [other, like], scoring_of(Kind.PSEUDO_LABEL): [Timed(size, frozenset(), 1.0)]}
    recorded(4.0, **{name.replace(":", "__").replace(" of ", "_of_"): t for name, t in times.items()})
    assert time_estimate(plan).seconds == pytest.approx(14)
    assert "on the machine of reference (a machine, 1 thread)" in str(time_estimate(plan))
    found = time_estimate(plan, speed=2.0)  # half as fast
    assert found.seconds == pytest.approx(28)
    assert str(found) == "about 28 s on this machine, estimated from its speed"
    store(plan, "a", 10.0)
    assert time_estimate(plan, speed=2.0).seconds == pytest.approx(2 * (10 + 2))
    assert time_estimate(plan, speed=2.0, workers=2).seconds == pytest.approx(10 + 2)


def test_the_graph_is_one_that_remaining_takes(plan: Plan) -> None:
    store(plan, "a", 10.0)
    first, second = (run.stages[0] for run in plan.runs)
    seconds, needs = Estimates(plan).graph()
    assert seconds == {first.key: 10.0, first.score_key: None, second.key: 10.0, second.score_key: None}
    assert needs[str(first.score_key)] == [first.key]
    assert Remaining(seconds, needs, workers=2).left(0.0) == 10


TRAINING = {"train": plain(TrainConfig(iterations=500, batch_size=16)), "radius": 5}


def test_the_work_of_a_training_is_what_its_steps_take_in() -> None:
    crop = TRAINING["train"]["recipe"]["crop"]
    assert work_of(Kind.WEIGHTS, TRAINING, 7.0) == pytest.approx(500 * 16 * crop**2 / 1e6)
    assert work_of(Kind.WEIGHTS, TRAINING, 7.0, 10) == pytest.approx(10 * 16 * crop**2 / 1e6)
    assert work_of(Kind.WEIGHTS, TRAINING, 7.0, 1000) == work_of(Kind.WEIGHTS, TRAINING, 7.0)
    assert work_of(Kind.WEIGHTS, {"a": TRAINING, "b": TRAINING}, 7.0) == pytest.approx(
        2 * 500 * 16 * crop**2 / 1e6
    )
    assert work_of(Kind.WEIGHTS, {"checkpoint": "file.pth"}, 7.0) == 1.0


def test_the_work_of_inference_is_its_images_whatever_training_its_settings_name() -> None:
    assert work_of(Kind.PREDICTION, TRAINING, 7.0) == 7.0


def test_every_training_of_the_methods_has_work(tmp_path: Path) -> None:
    """Their settings are found, so that a training of 40 iterations says of one of 500 what it can."""
    names = [name for name, method in all_methods().items() if method.default]
    overrides = [f"dataset.root={tmp_path}", "dataset.train=2", "dataset.val=2"]
    stages = {
        planned.stage.run: planned.stage
        for run in make_plan(compose(names, overrides=overrides), [0]).runs
        for planned in run.stages
        if planned.stage.yields == Kind.WEIGHTS
    }
    assert len(stages) > 5
    assert not [
        address
        for address, stage in stages.items()
        if work_of(stage.yields, plain(stage.settings), 1.0) == 1.0
    ]


def test_a_short_training_tells_of_a_long_one_in_proportion() -> None:
    short = Timed(40.0, frozenset({"iterations=40", "a=1"}), 4.0)
    assert nearest([short], 500.0, frozenset({"iterations=500", "a=1"})) == pytest.approx(50)


def test_of_those_equally_like_it_the_nearest_work_tells() -> None:
    short = Timed(5.0, frozenset({"iterations=5", "a=1"}), 3.0)  # most of it is start-up
    long = Timed(500.0, frozenset({"iterations=500", "a=2"}), 50.0)
    assert nearest([short, long], 500.0, frozenset({"iterations=500", "a=1"})) == 50
    assert nearest([], 1.0, frozenset()) is None


def test_the_recorded_times_are_of_every_stage_of_the_default_run(tmp_path: Path) -> None:
    names = [name for name, method in all_methods().items() if method.default]
    data = [f"dataset.root={tmp_path / 'data'}", "dataset.train=4", "dataset.val=2"]
    config = compose(names, overrides=[f"runtime.store={tmp_path / 'store'}", *data])
    found = time_estimate(make_plan(config, [0]))
    assert found.unknown == 0
    assert found.seconds > 60


def test_speed_is_one_number_and_leaves_threads_and_random_numbers_alone() -> None:
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert machine_speed(1) == machine_speed(1) > 0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_speed_of_earlier_runs_is_remembered_for_its_processor(tmp_path: Path) -> None:
    assert remembered_speed(Store(tmp_path)) is None
    speed = {"cpu": cpu_name(), "threads": 1, "speed": 12.5}
    (tmp_path / SPEED_FILE).write_text(json.dumps(speed))
    assert remembered_speed(Store(tmp_path)) == 12.5
    (tmp_path / SPEED_FILE).write_text(json.dumps(speed | {"cpu": "another"}))
    assert remembered_speed(Store(tmp_path)) is None


def test_a_run_is_recorded(command_line: CommandLine, third_party, monkeypatch, tmp_path: Path) -> None:
    third_party(Toy("toy"))
    monkeypatch.setattr(reference_times, "FILE", tmp_path / "times.json")
    monkeypatch.setattr(record_times, "machine_speed", lambda threads: 10.0)
    folder = command_line.folder
    data = ["dataset.train=6", "dataset.val=2", f"dataset.root={folder / 'data'}"]
    overrides = [*data, f"runtime.store={command_line.store}"]
    with pytest.raises(ConfigError, match="stage labels is not stored"):
        record_times.record_times(overrides, "toy")
    assert command_line.run("toy").code == 0
    record_times.record_times(overrides, "toy")
    reference_times.reference_times.cache_clear()
    try:
        found = reference_times.reference_times("nano")
        assert reference_times.reference_times("small") == ReferenceTimes()
    finally:
        reference_times.reference_times.cache_clear()
    assert found.speed == 10
    assert set(found.times) == {FUNCTION, scoring_of(Kind.PSEUDO_LABEL)}
    (timed,) = found.times[FUNCTION]
    assert "value=0" in timed.settings
    assert timed.work > 0


def test_a_dry_run_says_it(command_line: CommandLine, third_party) -> None:
    third_party(Toy("toy"))
    assert "nothing is known yet of how long this takes" in command_line.run("toy", "--dry-run").out
    assert command_line.run("toy").code == 0
    assert re.search(
        "about .*s, by the times of earlier ones", command_line.run("toy", "--seeds", "0,1", "--dry-run").out
    )
