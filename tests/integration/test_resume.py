"""`kill -9` inside every stage, then the same command: equal artifacts and equal scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmark.runner import COSTS
from tests.conftest import ROOT
from tests.tiny import data, sizes

KILLS = (
    ("saliency", 4),  # a shard is written, but not marked as done
    ("classify", 2),  # the second checkpoint is written, but not in place
    ("cam", 6),  # between two shards
    ("score-cam", 1),  # the counts are written, but not in place
    ("pseudo_label", 10),  # inside the second shard
    ("segment", 2),
    ("predict", 9),
    ("score-predict", 3),  # the manifest is there, the folder is not in place
)
"""Stage, and at which of its renames or marks the process is killed, just before it; in the order of the run."""

DRIVER = """
import json, os, signal, sys
from pathlib import Path

jobs = json.loads(sys.argv[1])  # arguments and kill (stage and count, or None) of each run

# Imported once here, so that the runs below, forked off, start at once.
import lightning_fabric, pandas, torch
import benchmark.context, benchmark.evaluation.evaluator, benchmark.board, reports.html
import methods.eps.stages, methods.refiners.threshold, methods.segmenters.stages
from benchmark.cli import main


def killed_at(stage, count):
    seen = 0

    def before(original):
        def wrapper(self, *rest, **options):
            nonlocal seen
            if f"/work/{stage}/" in str(self):
                seen += 1
                if seen == count:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *rest, **options)
        return wrapper

    Path.replace, Path.touch = before(Path.replace), before(Path.touch)


for arguments, kill in jobs:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if kill is not None:
            killed_at(*kill)
        sys.argv = ["benchmark", *arguments]
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    print("ENDED", json.dumps([kill, os.waitstatus_to_exitcode(status)]), flush=True)
"""


def arguments(folder: Path) -> list[str]:
    """Of a run of EPS that has checkpoints and shards inside its stages."""
    return [
        "run", "--methods", "eps", "--device", "cpu", "--output", str(folder / "run"),
        f"runtime.store={folder / 'store'}", "runtime.checkpoint_every=2", "runtime.shard=5",
        *data(folder.parent / "data"), *sizes(["eps"]),
    ]  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Folders of a run without interruption, and of one whose every stage was killed once; what was said."""

    whole: Path
    killed: Path
    said: str


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("resume")
    whole, killed = folder / "whole", folder / "killed"
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    jobs = [
        (arguments(whole), None),
        *((arguments(killed), kill) for kill in KILLS),
        (arguments(killed), None),
    ]
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(driver), json.dumps(jobs)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    ended = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("ENDED ")]
    assert ended == [[None, 0], *([list(kill), -9] for kill in KILLS), [None, 0]], said
    return Runs(whole, killed, said)


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
    assert {name.split("/")[0] for name in whole} >= {stage for stage, _ in KILLS}
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
    for stage, done in (
        ("saliency", "10/24 img"),
        ("classify", "2/6 it"),
        ("cam", "10/24 img"),
        ("pseudo_label", "5/24 img"),
        ("segment", "2/6 it"),
        ("predict", "5/20 img"),
    ):
        assert f"{stage}: resuming at {done}" in runs.said


def test_nothing_is_left_in_progress(runs):
    assert [p for p in (runs.killed / "store" / "work").rglob("*") if p.is_file()] == []
