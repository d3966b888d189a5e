"""Where tasks are done: in this process, one after the other, or in several worker processes side by side.

On a CPU, two processes of one thread each do 1.4 times the work of one with two threads on networks of nano's size.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Protocol

from benchmark import console
from benchmark.making import LogLosses, Maker
from benchmark.plan import Plan
from benchmark.tasks import Outcome, Task
from datasets.cores import limit_cores, usable_cores
from datasets.workers import process_pool

MOST = 8
"""Worker processes at most, unless `runtime.processes` says more."""
MEMORY_EACH = 2e9
"""Bytes of free memory that there have to be for each worker, unless `runtime.processes` says how many."""
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Of NVIDIA's, AMD's and Windows' drivers on Linux."""
POLL = 0.2
"""Seconds between two looks at what workers send."""
ENDED = (
    "the process that worked on it was ended from outside, perhaps for want of memory; run the same command again: it "
    "resumes (runtime.processes=1 needs least memory)"
)


class Executor(Protocol):
    """Does tasks."""

    @property
    def free(self) -> int:
        """How many more tasks it can begin now."""

    def begin(self, task: Task) -> None: ...

    def ended(self) -> Iterator[tuple[Task, Outcome]]:
        """Tasks that have ended since the last call; waits a moment for one."""


class OneByOne:
    """Does each task as it comes, in this process."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._done: list[tuple[Task, Outcome]] = []

    @property
    def free(self) -> int:
        return int(not self._done)  # the last one's outcome first: its cell may be through

    def begin(self, task: Task) -> None:
        self._done.append((task, self._maker.do(task)))

    def ended(self) -> Iterator[tuple[Task, Outcome]]:
        while self._done:
            yield self._done.pop()


class SideBySide:
    """Does tasks in processes of their own; use as a context manager. Left by an exception, it ends them at once.

    A process that dies takes its task along and is replaced.
    """

    def __init__(self, plan: Plan, processes: int, log: LogLosses) -> None:
        self._plan, self._log = plan, log
        self._workers = [_Worker(threads_each(processes)) for _ in range(processes)]
        self._shown = console.Shown()

    def __enter__(self) -> SideBySide:
        for worker in self._workers:
            worker.start(self._plan)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop(kind, error, trace)
        self._shown.stop()

    @property
    def free(self) -> int:
        return sum(worker.task is None for worker in self._workers)

    def begin(self, task: Task) -> None:
        next(worker for worker in self._workers if worker.task is None).begin(task)

    def ended(self) -> Iterator[tuple[Task, Outcome]]:
        by_connection = {worker.events: worker for worker in self._workers}
        for connection in wait(list(by_connection), POLL):
            self._show(by_connection[connection])  # type: ignore[index]
        for worker in self._workers:
            if worker.future is not None and worker.future.done():
                assert worker.task is not None
                task = worker.task
                self._show(worker)
                yield task, worker.take(self._plan)

    def _show(self, worker: _Worker) -> None:
        while worker.events.poll():
            try:
                kind, *rest = event = worker.events.recv()
            except (EOFError, OSError):  # it has died
                return
            if kind == "losses":
                self._log(*rest)
            else:
                self._shown.show(event)


@dataclass
class _Worker:
    """One worker process."""

    threads: int
    task: Task | None = None
    future: Future[Outcome] | None = None

    def start(self, plan: Plan) -> None:
        self.events, sender = Pipe(duplex=False)
        self._pool: ProcessPoolExecutor = process_pool(1, _prepare, (sender, self.threads))
        self._ready = self._pool.submit(_take, plan)
        self._sender: Connection = sender  # kept open: what reads the other end waits for a new worker, too

    def begin(self, task: Task) -> None:
        self.task, self.future = task, self._pool.submit(_do, task)

    def take(self, plan: Plan) -> Outcome:
        """What became of the task that is done."""
        assert self.future is not None
        try:
            self._ready.result()
            outcome = self.future.result()
        except BrokenProcessPool:
            self.stop()
            self.start(plan)
            outcome = Outcome(failure=ENDED)
        except Exception as error:  # a method's own classes may be of a kind that cannot be sent
            outcome = Outcome(
                failure=f"it cannot run in a process of its own ({error}); set runtime.processes=1"
            )
        self.task = self.future = None
        return outcome

    def stop(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._pool.__exit__(kind, error, trace)
        self._sender.close()
        self.events.close()


def process_count(plan: Plan) -> int:
    """Processes for a plan: `runtime.processes`, or as many as have cells, cores and memory.

    It follows from the plan and the machine, not from what is stored, so that a run that is resumed computes with as
    many threads as before, to the last bit. On a GPU it is one.
    """
    runtime = plan.config.runtime
    if runtime.processes:
        return runtime.processes
    cells = sum(cell.status == "planned" for cell in plan.cells)
    cores = usable_cores()
    if cells < 2 or cores < 2 or (runtime.device != "cpu" and _has_gpu()):
        return 1
    import psutil

    room = int(psutil.virtual_memory().total // MEMORY_EACH)
    return max(1, min(cells, cores, room, MOST))


def threads_each(processes: int) -> int:
    """Threads of each of so many processes."""
    return max(1, usable_cores() // processes)


def _has_gpu() -> bool:
    if sys.platform == "linux" and not any(Path(device).exists() for device in GPU_DEVICES):
        return False  # without torch, which takes seconds to import
    import torch

    return torch.cuda.is_available()


_maker: Maker | None = None
_send: Any = None


def _prepare(sender: Connection, threads: int) -> None:
    """In a worker, before anything imports torch."""
    global _send
    lock = Lock()

    def send(event: console.Event) -> None:
        with lock, suppress(OSError):  # the parent may have gone
            sender.send(event)

    _send = send
    limit_cores(threads)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    console.forward(_send)


def _take(plan: Plan) -> None:
    global _maker

    def log(cell: int, values: Mapping[str, float], iteration: int) -> None:
        _send(("losses", cell, dict(values), iteration))

    import torch

    torch.set_num_threads(usable_cores())
    _maker = Maker(plan, log=log)


def _do(task: Task) -> Outcome:
    assert _maker is not None
    return _maker.do(task)
