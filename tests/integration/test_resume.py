"""`kill -9` in every stage, its scoring, the checks and the board, then the same command: equal artifacts and scores.

An uninterrupted run counts, for everything that it makes, the renames and marks by which files come into place; from
them follows where the other one is killed.
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

from benchmark.runner import COSTS
from tests.conftest import ROOT
from tests.tiny import data, sizes

BOARD = "board"
"""What the run folder's files are called among the things that are made."""

DRIVER = """
import json, os, signal, sys
from pathlib import Path

whole, killed = json.loads(sys.argv[1])  # arguments of the uninterrupted run and of the other

# Imported once here, so that the runs below, forked off, start at once.
import lightning_fabric, pandas, torch
import benchmark.context, benchmark.evaluation.evaluator, benchmark.board, reports.html
import methods.eps.stages, methods.refiners.threshold, methods.segmenters.stages
from benchmark.cli import main


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


counts = Path(sys.argv[0]).with_name("counts.json")
assert run(whole, counting) == 0
made = json.loads(counts.read_text())
for name, count in made.items():  # in the order of the run
    # Half-way: between the checkpoints of each of a stage's trainings, inside shards, before manifests are in place.
    print("ENDED", json.dumps([name, run(killed, killing(name, count // 2 + 1))]), flush=True)
print("ENDED", json.dumps([None, run(killed, lambda: (lambda: None))]), flush=True)
"""

RUNS = {
    "eps": ("eps",),
    "dskd_gc": ("dskd_gc", "method.dskd_gc.train.iterations=12", "method.dskd_gc.phases.segmentation=0.7"),
}
"""Method and options of the runs that are killed. Of 12 iterations, four are dskd_gc's warm-up, four its expansion
alone, and four its segmentation, with two checkpoints each."""
TRAININGS = {"eps": 2, "dskd_gc": 3}
"""How many trainings each has: dskd_gc's stage trains once a phase."""


def arguments(folder: Path, method: str, *settings: str) -> list[str]:
    """Of a run that has checkpoints and shards inside its stages."""
    return [
        "run", "--methods", method, "--device", "cpu", "--output", str(folder / "run"),
        f"runtime.store={folder / 'store'}", "runtime.checkpoint_every=2", "runtime.shard=5",
        *data(folder.parent / "data"), *sizes([method]), *settings,
    ]  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Folders of a run without interruption, and of one whose every stage was killed once; what was said.

    interrupted: stages, and each training of a stage by its checkpoint ("train/checkpoint-2")
    """

    method: str
    whole: Path
    killed: Path
    said: str
    interrupted: set[str]


@pytest.fixture(
    scope="module", params=["eps", *(pytest.param(n, marks=pytest.mark.slow) for n in RUNS if n != "eps")]
)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("resume")
    whole, killed = folder / "whole", folder / "killed"
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    both = [arguments(place, *RUNS[request.param]) for place in (whole, killed)]
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), json.dumps(both)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    ended = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    assert ended[-1] == [None, 0], said
    assert {code for _, code in ended[:-1]} == {-9}, said
    return Runs(request.param, whole, killed, said, {name for name, _ in ended[:-1]})


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """stage/key -> what its manifest says, without times, memory and machine."""
    found = {}
    for path in sorted((folder / "store" / "artifacts").glob("*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        for name in ("seconds", *COSTS, "resumed", "created", "provenance"):
            manifest.pop(name, None)
        found[f"{manifest['stage']}/{manifest['key']}"] = manifest
    return found


def test_artifacts_and_scores_equal_those_of_an_uninterrupted_run(runs):
    whole, resumed = manifests(runs.whole), manifests(runs.killed)
    assert {name.split("/")[0] for name in whole} | {BOARD} == {n for n in runs.interrupted if "/" not in n}
    assert resumed.keys() == whole.keys()
    for name, manifest in whole.items():
        assert resumed[name]["files"] == manifest["files"], name
        assert json.dumps(resumed[name]) == json.dumps(manifest), name  # as text, for NaN


def test_every_training_was_killed(runs):
    """The phases of a method that trains in several are trainings of their own."""
    made = {
        f"{path.parent.parent.name}/checkpoint-{path.stem.removeprefix('losses-')}"
        for path in runs.whole.glob("store/artifacts/*/*/losses-*.json")
    }
    assert len(made) == TRAININGS[runs.method]
    assert {name for name in runs.interrupted if "/" in name} == made


def test_the_records_are_equal(runs):
    def lines(folder: Path) -> list[str]:
        text = (folder / "run" / "records.csv").read_text().splitlines()
        return [line for line in text if not any(f",{name}," in line for name in ("seconds", *COSTS))]

    assert lines(runs.killed) == lines(runs.whole)


def test_stages_go_on_where_they_were(runs):
    """Trainings from a checkpoint, stages that pass through images from a shard."""
    resumed = set(re.findall(r"· (\S+): resuming at [1-9]\d*/", runs.said))
    stages = {name.split("/")[0] for name in runs.interrupted}
    stages = {name for name in stages if (runs.whole / "store" / "artifacts" / name).is_dir()}
    trained = {path.parent.parent.name for path in runs.whole.glob("store/artifacts/*/*/losses-*.json")}
    mapped = {path.parents[2].name for path in runs.whole.glob("store/artifacts/*/*/labels/*.png")}
    assert trained
    assert trained <= stages
    assert trained | mapped <= resumed


def test_nothing_is_left_in_progress(runs):
    assert [p for p in (runs.killed / "store" / "work").rglob("*") if p.is_file()] == []
