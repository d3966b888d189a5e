"""Pools of processes: none outlives the process that made it, and none hears Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from datasets.loading.workers import process_pool
from tests.conftest import ROOT

CRF_POOL = """
import numpy as np
from multiprocessing import active_children
from methods.layers.config import CrfConfig
from methods.layers.crf import CrfPool

def jobs():
    for n in range(BUSY):
        yield np.zeros((60, 80, 3), np.uint8), np.full((2, 60, 80), 0.5, np.float32)

if __name__ == "__main__":
    with CrfPool(CrfConfig(), workers=2) as pool:
        for n, _ in enumerate(pool.map(jobs())):
            if n == 5:
                print(*(process.pid for process in active_children()), flush=True)
        input()
"""
POOL_IN_POOL = """
import os, signal, sys
from datasets.loading.workers import process_pool

def inner():
    print(os.getpid(), flush=True)
    signal.pause()  # in C, without the interpreter's lock

def outer():
    print(os.getpid(), end=" ", flush=True)
    with process_pool(1) as pool:
        pool.submit(inner).result()

if __name__ == "__main__":
    try:
        with process_pool(1) as pool:
            pool.submit(outer).result()
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start(folder: Path, script: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A process that runs the script, in a group of its own, and the two workers that it names."""
    path = folder / "parent.py"
    path.write_text(script)
    parent = subprocess.Popen(
        [sys.executable, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert parent.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    return parent, workers


def said_by_all(parent: subprocess.Popen[str], workers: list[psutil.Process]) -> str:
    """What stderr has when it is at its end: when no process of the tree is left to write into it."""
    try:
        return parent.communicate(timeout=60)[1]
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(CRF_POOL.replace("BUSY", "10"), id="CRF, idle"),
        pytest.param(CRF_POOL.replace("BUSY", "10**9"), id="CRF, busy"),
        pytest.param(POOL_IN_POOL, id="a pool in a pool"),
    ],
)
def test_workers_end_when_their_parent_alone_is_killed(tmp_path: Path, script: str) -> None:
    parent, workers = start(tmp_path, script)
    os.kill(parent.pid, signal.SIGKILL)
    said_by_all(parent, workers)


def test_an_interrupt_of_a_pool_in_a_pool_leaves_no_word_and_no_process(tmp_path: Path) -> None:
    parent, workers = start(tmp_path, POOL_IN_POOL)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    assert said_by_all(parent, workers) == ""
    assert parent.returncode == 130


def interrupts_are_blocked() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def blocked_around_a_pool() -> list[bool]:
    before = interrupts_are_blocked()
    with process_pool(1) as pool:
        inside = pool.submit(interrupts_are_blocked).result()
    return [before, inside, interrupts_are_blocked()]


def test_workers_are_deaf_to_interrupts_and_stay_so_with_pools_of_their_own() -> None:
    with process_pool(1) as pool:
        assert pool.submit(blocked_around_a_pool).result() == [True, True, True]
    assert not interrupts_are_blocked()


def put_into_environment(name: str, value: str) -> None:
    os.environ[name] = value


def test_an_initializer_is_called_in_every_worker() -> None:
    with process_pool(1, put_into_environment, ("WSSS_WORKER", "one")) as pool:
        assert pool.submit(os.getenv, "WSSS_WORKER").result() == "one"
    assert "WSSS_WORKER" not in os.environ


def wait_or_leave(pid: Path, left: Path) -> None:
    try:
        pid.write_text(str(os.getpid()))
        signal.pause()  # would never be done
    finally:
        left.touch()


def test_left_by_an_exception_a_pool_interrupts_what_runs_and_drops_what_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "runs")

    def interrupted() -> None:
        with process_pool(1) as pool:
            for n in range(4):
                pool.submit(wait_or_leave, tmp_path / "runs", tmp_path / f"{n}")
            (tmp_path / "runs").read_text()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["0"]


def test_left_in_order_a_pool_finishes_what_waits() -> None:
    with process_pool(1) as pool:
        results = [pool.submit(pow, n, 2) for n in range(6)]
    assert [result.result() for result in results] == [0, 1, 4, 9, 16, 25]


def test_nobody_else_makes_processes_of_his_own() -> None:
    folders = ("benchmark", "methods", "datasets", "results", "reports")
    making = {
        path.name
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "ProcessPoolExecutor(" in path.read_text() or "import multiprocessing" in path.read_text()
    }
    assert making == {"workers.py"}
