"""A Dask scheduler and workers as processes of their own on loopback, as somebody would start them by hand.

The scheduler loads this module, too (`--preload`), to say when it has written its file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def dask_setup(scheduler: Any) -> None:
    """In the scheduler, when it listens."""
    print("listens", flush=True)


class DaskCluster:
    """Use as a context manager, which kills what is left."""

    def __init__(self, folder: Path) -> None:
        self.file, self._folder = folder / "scheduler.json", folder
        self.workers: list[subprocess.Popen[str]] = []
        self.scheduler = self._start("scheduler", "--port", "0", "--no-show", "--preload", __name__)
        assert self.scheduler.stdout is not None
        if self.scheduler.stdout.readline() != "listens\n":
            raise RuntimeError((folder / "scheduler-0.log").read_text())

    def add_worker(self, *options: str) -> subprocess.Popen[str]:
        """One that makes a stage at a time."""
        here = (
            "--no-nanny",
            "--nthreads",
            "1",
            "--memory-limit",
            "0",
            "--local-directory",
            str(self._folder),
        )
        self.workers.append(self._start("worker", *here, *options))
        return self.workers[-1]

    def ended(self) -> list[subprocess.Popen[str]]:
        """Workers that have ended."""
        return [worker for worker in self.workers if worker.poll() is not None]

    def _start(self, kind: str, *options: str) -> subprocess.Popen[str]:
        place = ("--scheduler-file", str(self.file), "--host", "127.0.0.1", "--no-dashboard")
        with (self._folder / f"{kind}-{len(self.workers)}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *place, *options],
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE if kind == "scheduler" else log,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(self, *error: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
        for process in (*self.workers, self.scheduler):
            process.wait()
