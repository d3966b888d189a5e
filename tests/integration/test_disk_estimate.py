"""The dry run's disk estimates against what a tiny run of several scales, CAM folders and sorts of network wrote."""

from __future__ import annotations

from benchmark.commands.dry_run import disk_estimate
from benchmark.config import compose
from benchmark.planning.plan import make_plan
from methods.base import Kind
from tests.helpers.tiny import data, sizes
from tests.helpers.toys import CommandLine

METHODS = ["cam", "semantic_modulation"]


def test_estimates_are_no_less_and_no_more_than_four_times(command_line: CommandLine, tmp_path):
    settings = [*data(tmp_path / "data"), "dataset.train=12"]
    settings += [setting for setting in sizes(METHODS, iterations=2) if "scales" not in setting]
    settings += [f"method.{name}.inference.scales=[0.5,1.0,1.5]" for name in METHODS]
    done = command_line.run_on(",".join(METHODS), *settings, "--until", "pseudo_label")
    assert done.code == 0, done.err
    store = f"runtime.store={command_line.store}"
    plan = make_plan(compose(METHODS, overrides=[*settings, store]), [0], "pseudo_label")
    kinds, wrong = set(), []
    for run in plan.runs:
        for planned in run.stages:
            artifact = plan.store.find(planned.stage.name, planned.key)
            assert artifact is not None
            kinds.add(planned.stage.yields)
            # pictures of a few examples do not grow with the data
            sizes_of = {
                name: f["bytes"] for name, f in artifact.manifest["files"].items() if "pictures/" not in name
            }
            real, estimate = sum(sizes_of.values()), disk_estimate(plan, planned)
            most = 8 if planned.stage.yields == Kind.WEIGHTS else 4  # the former by scale alone
            if not real <= estimate <= most * real:
                wrong.append((run.method.name, planned.stage.name, real, round(estimate)))
    assert wrong == []
    assert {Kind.CAM, Kind.PSEUDO_LABEL, Kind.WEIGHTS} <= kinds
