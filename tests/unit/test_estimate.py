"""How long a plan will take is told by stored stages that are like its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import compose, plain
from benchmark.estimate import time_estimate
from benchmark.plan import Plan, make_plan
from tests.toys import CommandLine, Toy, command_line, third_party

__all__ = ["command_line", "third_party"]  # fixtures


@pytest.fixture
def plan(third_party, tmp_path: Path) -> Plan:
    third_party(Toy("toy"))
    data = [f"dataset.root={tmp_path / 'data'}", "dataset.train=2", "dataset.val=2"]
    config = compose(["toy"], overrides=[f"runtime.store={tmp_path / 'store'}", "method.toy.value=3", *data])
    return make_plan(config, [0, 1])


def store(plan: Plan, key: str, seconds: float, **changes: Any) -> None:
    """A finished artifact of the plan's stage, by its manifest alone."""
    planned = plan.cells[0].stages[0]
    manifest = {
        "run": planned.stage.run,
        "settings": plain(planned.stage.settings),
        "classes": list(plan.dataset.classes),
        "seconds": seconds,
        "resumed": False,
        "files": {},
        **changes,
    }
    path = plan.store.path(planned.stage.name, key)
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_nothing_is_known_without_stored_stages(plan: Plan) -> None:
    assert time_estimate(plan) == (0.0, 2, 2)


def test_the_settings_most_like_its_own_tell(plan: Plan) -> None:
    like = plain(plan.cells[0].stages[0].stage.settings)
    store(plan, "a", 10.0)
    store(plan, "b", 12.0)
    store(plan, "c", 300.0, settings={**like, "value": 1})
    store(plan, "d", 300.0, classes=["something else"])
    store(plan, "e", 300.0, run="another:function")
    store(plan, "f", 1.0, resumed=True)
    assert time_estimate(plan) == (22.0, 2, 0)


def test_what_is_stored_takes_no_time(plan: Plan) -> None:
    store(plan, plan.cells[0].stages[0].key, 10.0)
    assert time_estimate(plan) == (10.0, 1, 0)


def test_a_dry_run_says_it(command_line: CommandLine, third_party) -> None:
    third_party(Toy("toy"))
    assert "by the times of earlier ones" not in command_line.run("toy", "--dry-run").out
    assert command_line.run("toy").code == 0
    assert (
        "about 0 s, by the times of earlier ones"
        in command_line.run("toy", "--seeds", "0,1", "--dry-run").out
    )
