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

from datasets.workers import process_pool
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
import os, signal
from datasets.workers import process_pool

def inner():
    print(os.getpid(), flush=True)
    signal.pause()  # in C, without the interpreter's lock

def outer():
    print(os.getpid(), end=" ", flush=True)
    with process_pool(1) as pool:
        pool.submit(inner).result()

if __name__ == "__main__":
    with process_pool(1) as pool:
        pool.submit(outer).result()
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(CRF_POOL.replace("BUSY", "10"), id="CRF, idle"),
        pytest.param(CRF_POOL.replace("BUSY", "10**9"), id="CRF, busy"),
        pytest.param(POOL_IN_POOL, id="a pool in a pool"),
    ],
)
def test_workers_end_when_their_parent_alone_is_killed(tmp_path: Path, script: str) -> None:
    path = tmp_path / "parent.py"
    path.write_text(script)
    with subprocess.Popen(
        [sys.executable, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        try:
            os.kill(parent.pid, signal.SIGKILL)
            # The pipe is at its end when no process of the tree is left to write into it.
            parent.communicate(timeout=60)
        finally:
            for worker in workers:
                if worker.is_running():
                    worker.kill()


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


def test_left_by_an_exception_a_pool_ends_workers_amid_their_tasks() -> None:
    def interrupted() -> None:
        with process_pool(1) as pool:
            pool.submit(os.getpid).result()
            pool.submit(signal.pause)  # would never be done
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert multiprocessing.active_children() == []


def test_nobody_else_makes_processes_of_his_own() -> None:
    folders = ("benchmark", "methods", "datasets", "results", "reports")
    making = {
        path.name
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "ProcessPoolExecutor(" in path.read_text() or "import multiprocessing" in path.read_text()
    }
    assert making == {"workers.py"}
