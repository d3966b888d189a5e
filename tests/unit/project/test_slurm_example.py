"""The sbatch scripts of the examples, with stand-ins for Slurm and for the run."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "examples" / "slurm" / "array.sbatch"
CLUSTER = SCRIPT.with_name("dask.sbatch")
WAITS = """
tail -f /dev/null &
trap "kill $!; echo stopped; exit 143" TERM
echo begun
wait
"""
DASK = """
echo "$*"
if [[ $1 == scheduler ]]; then
    for option; do file=$option; done  # the last one
    echo here > "$file"
fi
exec tail -f /dev/null
"""


@pytest.fixture
def submit(tmp_path):
    """Starts a script with stand-ins for `python`, which does what `run` says, and for other commands."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    folder = tmp_path / "bin"
    folder.mkdir()

    def begin(script: Path, run: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        bodies = {
            "python": f'echo "run: $*"\n{run}',
            "scontrol": 'echo "scontrol: $*"',
            "srun": 'exec "$@"',
            "dask": DASK,
        }
        for name, body in bodies.items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
            (folder / name).chmod(0o755)
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            ["bash", script, *arguments],
            env={"PATH": path, **environment},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


@pytest.fixture
def job(submit):
    """Starts the script as task `number` of an array."""

    def begin(number: int, run: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        task = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_JOB_ID": "7"}
        return submit(SCRIPT, run, *arguments, **task, **environment)

    return begin


def test_tasks_are_the_pairs_of_methods_and_seeds(job):
    said = []
    for number in range(6):
        task = job(number, "exit 0", "--scale", "paper", METHODS="cam eps", SEEDS="0 1 5")
        said.append(task.communicate()[0])
        assert task.returncode == 0
    assert said == [
        f"run: -m benchmark run --methods {method} --seeds {seed} --scale paper\n"
        for method in ("cam", "eps")
        for seed in (0, 1, 5)
    ]


def test_a_run_that_is_told_its_limit_stops_and_is_queued_again(job):
    task = job(1, WAITS, METHODS="cam eps")
    assert task.stdout is not None
    assert task.stdout.readline() == "run: -m benchmark run --methods eps --seeds 0\n"
    assert task.stdout.readline() == "begun\n"
    task.send_signal(signal.SIGTERM)
    assert task.communicate()[0] == "stopped\nscontrol: requeue 7_1\n"
    assert task.returncode == 0


@pytest.mark.parametrize(
    ("number", "run", "environment", "code", "said"),
    [
        (0, "exit 1", {"METHODS": "cam"}, 1, "run: -m benchmark run --methods cam --seeds 0\n"),
        (
            2,
            "exit 0",
            {"METHODS": "cam eps"},
            2,
            "task 2 has nothing to do: 2 methods x 1 seeds; --array=0-1\n",
        ),
    ],
)
def test_failures_are_not_queued_again(job, number, run, environment, code, said):
    task = job(number, run, **environment)
    assert task.communicate()[0] == said
    assert task.returncode == code


def test_methods_have_to_be_named(job):
    task = job(0, "exit 0")
    assert "name the methods" in task.communicate()[0]
    assert task.returncode != 0


def test_one_job_starts_scheduler_and_workers(submit, tmp_path):
    job = submit(CLUSTER, "exit 1", "--seeds", "0,1", SLURM_JOB_ID="9")
    file = tmp_path / "dask-9" / "scheduler.json"
    assert job.communicate()[0] == f"run: -m benchmark run --scheduler {file} --seeds 0,1\n"
    assert job.returncode == 1
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700  # it says where code can be run as this user
    told = (file.parent / "scheduler.log").read_text()
    assert told.startswith(f"scheduler --port 0 --no-dashboard --scheduler-file {file}\n")


def test_a_job_on_a_cluster_that_is_told_its_limit_is_queued_again(submit):
    job = submit(CLUSTER, WAITS, SLURM_JOB_ID="9")
    assert job.stdout is not None
    assert job.stdout.readline().startswith("run: -m benchmark run --scheduler ")
    assert job.stdout.readline() == "begun\n"
    job.send_signal(signal.SIGTERM)
    assert job.communicate()[0] == "stopped\nscontrol: requeue 9\n"
    assert job.returncode == 0


@pytest.mark.parametrize("script", [SCRIPT, CLUSTER])
def test_the_documentation_shows_its_call(script):
    page = (ROOT / "docs" / "guide" / "cluster.md").read_text()
    assert script.relative_to(ROOT).as_posix() in page
    assert script.read_text().count("docs/guide/cluster.md") == 1
