"""`run --smoke`: trainings and data are short, and no row of it can be taken for a measured one."""

from __future__ import annotations

import json

from results.io import read_run
from tests.helpers.toys import Toy


def test_a_trial_is_short_marked_and_in_a_folder_of_its_own(command_line, third_party, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    third_party(Toy("toy", "tests.unit.benchmark.execution.test_loggers:learn"))
    place = (f"runtime.store={command_line.store}", f"dataset.root={command_line.data}", "dataset.val=2")
    arguments = ("run", "--methods", "toy", "--device", "cpu", "--smoke", "dataset.train=20", *place)
    done = command_line(*arguments, "runtime.max_iterations=2")  # own settings come after those of the trial
    assert done.code == 0, done.err
    (run,) = read_run(tmp_path / "results" / "runs" / "smoke").runs
    assert {"dataset.subset=16", "runtime.max_iterations=2"} <= set(run["changes"].split("; "))
    assert "runtime.max_iterations=2" in done.out
    histories = sorted(command_line.store.glob("artifacts/labels/*/losses-*.json"))
    assert [[point["iteration"] for point in json.loads(h.read_text())] for h in histories] == [[1, 2]] * 2
    assert run["stages"][0]["images"] == 16
