"""`kill -9` in every stage, its scoring, the checks and the leaderboard, then the same command: equal results.

An uninterrupted run counts, for everything that it makes, the renames and marks by which files come into place; from
them follows where the other one is killed. All of it is `slow`; one of each sort is not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmark.execution.runner import COSTS
from tests.conftest import ROOT
from tests.helpers.tiny import data, sizes

BOARD = "board"
"""What the run folder's files are called among the things that are made."""

DRIVER = """
import json, os, signal, sys
from pathlib import Path

# Arguments of the uninterrupted run and of the other; what to kill of all that is made, None: everything.
whole, killed, chosen = json.loads(sys.argv[1])

# Imported once here, so that the runs below, forked off, start at once.
import lightning_fabric, pandas, torch
import benchmark.execution.context, benchmark.evaluation.evaluator, benchmark.run_folder.leaderboard, reports.html
import methods.eps.network, methods.refiners.threshold, methods.segmenters.stages
from benchmark.cli import main

sys.argv = ["benchmark", *whole, "--dry-run"]  # what planning keeps is then there as well
try:
    main()
except SystemExit as exit_:
    assert not exit_.code


def watched(before_each):
    def before(original):
        def wrapper(self, *rest, **options):
            in_store, in_run = (str(self).partition(part)[2] for part in ("/store/work/", "/run/"))
            if in_store:
                stage, training = in_store.split("/")[0], self.stem.startswith("checkpoint-")
                before_each(f"{stage}/{self.stem}" if training else stage)
            elif in_run:
                before_each("board")
            return original(self, *rest, **options)
        return wrapper

    Path.replace, Path.touch = before(Path.replace), before(Path.touch)


def run(arguments, prepare):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        finish = prepare()
        sys.argv = ["benchmark", *arguments]
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        finish()
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def counting():
    seen = {}
    watched(lambda name: seen.update({name: seen.get(name, 0) + 1}))
    return lambda: counts.write_text(json.dumps(seen))


def killing(name, count):
    left = [count]

    def before(found):
        left[0] -= found == name
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: watched(before) or (lambda: None)


counts = Path(__file__).with_name("counts.json")
assert run(whole, counting) == 0
made = json.loads(counts.read_text())
for name in [name for name in made if chosen is None or name in chosen]:  # in the order of the run
    # Half-way: between the checkpoints of each of a stage's trainings, inside shards, before manifests are in place.
    print("ENDED", json.dumps([name, run(killed, killing(name, made[name] // 2 + 1))]), flush=True)
print("ENDED", json.dumps([None, run(killed, lambda: (lambda: None))]), flush=True)
"""

SORTS = (
    "check-masks",
    "classify/checkpoint-1",
    "pseudo_label",
    "score-pseudo_label",
    "score-references",
    BOARD,
)
"""One of each sort of what is made: a check, a training, a stage that passes through images, a scoring, the
references, the run folder."""


@dataclass(frozen=True)
class Case:
    """What is run, with which options, and of what it makes everything (None) or these are killed.

    trainings: how many it has; dskd_gc's stage trains once a phase. Of 12 iterations, four are its warm-up, four its
               expansion alone, and four its segmentation, with two checkpoints each
    """

    method: str
    trainings: int
    options: tuple[str, ...] = ()
    chosen: tuple[str, ...] | None = None


PHASES = ("method.dskd_gc.train.iterations=12", "method.dskd_gc.phases.segmentation=0.7")
CASES = {
    "eps": (Case("eps", 2, chosen=SORTS), ()),
    "eps, everything": (Case("eps", 2), (pytest.mark.slow,)),
    "dskd_gc, everything": (Case("dskd_gc", 3, PHASES), (pytest.mark.slow,)),
}


def arguments(folder: Path, method: str, *settings: str) -> list[str]:
    """Of a run that has checkpoints and shards inside its stages."""
    return [
        "run", "--methods", method, "--device", "cpu", "--output", str(folder / "run"),
        f"runtime.store={folder / 'store'}", "runtime.checkpoint_every=2", "runtime.shard=5",
        *data(folder.parent / "data"), *sizes([method]), *settings,
    ]  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Folders of a run without interruption, and of one that was killed where the case says; what was said.

    interrupted: stages, and each training of a stage by its checkpoint ("train/checkpoint-2")
    """

    case: Case
    whole: Path
    killed: Path
    said: str
    interrupted: set[str]


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=name, marks=marks) for name, (case, marks) in CASES.items()],
)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder, case = tmp_path_factory.mktemp("resume"), request.param
    whole, killed = folder / "whole", folder / "killed"
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    both = [arguments(place, case.method, *case.options) for place in (whole, killed)]
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), json.dumps([*both, case.chosen])],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    ended = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    assert ended[-1] == [None, 0], said
    assert {code for _, code in ended[:-1]} == {-9}, said
    return Runs(case, whole, killed, said, {name for name, _ in ended[:-1]})


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """stage/key -> what its manifest says, without times, memory, machine and what was opened since the last start."""
    found = {}
    for path in sorted((folder / "store" / "artifacts").glob("*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        for name in ("seconds", *COSTS, "access", "resumed", "created", "provenance", "sha256"):
            manifest.pop(name, None)
        found[f"{manifest['stage']}/{manifest['key']}"] = manifest
    return found


def trainings(runs: Runs) -> set[str]:
    """The phases of a method that trains in several are trainings of their own."""
    return {
        f"{path.parent.parent.name}/checkpoint-{path.stem.removeprefix('losses-')}"
        for path in runs.whole.glob("store/artifacts/*/*/losses-*.json")
    }


def test_everything_was_killed_that_is_to_be(runs):
    made = {name.split("/")[0] for name in manifests(runs.whole)} | {BOARD} | trainings(runs)
    assert len(trainings(runs)) == runs.case.trainings
    assert runs.interrupted == (made if runs.case.chosen is None else set(runs.case.chosen))


def test_artifacts_and_scores_equal_those_of_an_uninterrupted_run(runs):
    whole, resumed = manifests(runs.whole), manifests(runs.killed)
    assert resumed.keys() == whole.keys()
    for name, manifest in whole.items():
        assert resumed[name]["files"] == manifest["files"], name
        assert json.dumps(resumed[name]) == json.dumps(manifest), name  # as text, for NaN


def test_the_records_are_equal(runs):
    def lines(folder: Path) -> list[str]:
        text = (folder / "run" / "records.csv").read_text().splitlines()
        return [line for line in text if not any(f",{name}," in line for name in ("seconds", *COSTS))]

    assert lines(runs.killed) == lines(runs.whole)


def test_stages_go_on_where_they_were(runs):
    """Trainings from a checkpoint, stages that pass through images from a shard."""
    resumed = set(re.findall(r"· (\S+): resuming at [1-9]\d*/", runs.said))
    interrupted = {name.split("/")[0] for name in runs.interrupted}
    trained = {name.split("/")[0] for name in trainings(runs)}
    mapped = {path.parents[2].name for path in runs.whole.glob("store/artifacts/*/*/labels/*.png")}
    assert trained & interrupted
    assert mapped & interrupted
    assert (trained | mapped) & interrupted <= resumed


def test_nothing_is_left_in_progress(runs):
    assert [p for p in (runs.killed / "store" / "work").rglob("*") if p.is_file()] == []
