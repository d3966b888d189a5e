"""Where tasks are done on one machine: in this process, one after the other, or in several processes side by side.

On a CPU, two processes of one thread each do 1.4 times the work of one with two threads on networks of nano's size.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from benchmark import console
from benchmark.execution.making import LogLosses, Maker
from benchmark.execution.tasks import Outcome, Task
from benchmark.failures import ConfigError
from benchmark.planning.plan import Plan
from datasets.files.cores import limit_cores, usable_cores
from datasets.loading.workers import end_now, process_pool

if TYPE_CHECKING:
    from benchmark.config import RuntimeConfig

MOST = 8
"""Worker processes at most, unless `runtime.processes` says more."""
MEMORY_EACH = 2e9
"""Bytes of the machine's memory, or the container's, for each worker, unless `runtime.processes` says how many."""
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of NVIDIA's and AMD's drivers on Linux, and of a GPU in the Windows Subsystem for Linux."""
POLL = 0.2
"""Seconds between two looks at what workers send."""
ENDED = (
    "the process that worked on it was ended from outside, perhaps for want of memory; run the same command again: it "
    "resumes (runtime.processes=1 needs least memory)"
)


class Executor(Protocol):
    """Does tasks."""

    def takes(self, task: Task) -> bool:
        """Whether it can begin a task now."""

    def begin(self, task: Task) -> None: ...

    def ended(self) -> Iterator[tuple[Task, Outcome]]:
        """Tasks that have ended since the last call; waits a moment for one."""


class OneByOne:
    """Does each task as it comes, in this process."""

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._done: list[tuple[Task, Outcome]] = []

    def takes(self, task: Task) -> bool:
        return not self._done  # the last one's outcome first: its run may be through

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
        self._log = log
        self._ends = Ends()
        take = partial(take_plan, plan)
        self._workers = [WorkerProcess(take, threads_each(processes)) for _ in range(processes)]

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for worker in self._workers:
                worker.turn_away()
            end_now([worker.pool for worker in self._workers if worker.pool is not None])
        for worker in self._workers:
            worker.stop()

    def takes(self, task: Task) -> bool:
        return any(worker.task is None for worker in self._workers)

    def begin(self, task: Task) -> None:
        worker = next(worker for worker in self._workers if worker.task is None)
        worker.begin(task).add_done_callback(self._ends.note)

    def ended(self) -> Iterator[tuple[Task, Outcome]]:
        working = [worker for worker in self._workers if worker.task is not None]
        wait([self._ends.connection, *(worker.events for worker in working)], POLL)
        self._ends.clear()
        for worker in working:
            ended = worker.future is not None and worker.future.done()  # before its last events are read
            for event in worker.sent():
                show(event, worker.shown, self._log)
            if ended:
                task = worker.task
                assert task is not None
                yield task, worker.take()


class Ends:
    """Wakes who waits for `connection` when a task ends."""

    def __init__(self) -> None:
        self.connection, self._sender = Pipe(duplex=False)
        self._lock = Lock()

    def note(self, future: Future[Outcome]) -> None:
        with self._lock, suppress(OSError):
            self._sender.send_bytes(b".")

    def clear(self) -> None:
        while self.connection.poll():
            self.connection.recv_bytes()


class WorkerProcess:
    """One process that does tasks, started with its first one, and again after it has died."""

    def __init__(
        self, take: Callable[[], None], threads: int, remedy: str = "set runtime.processes=1"
    ) -> None:
        """take: called in the process before its first task; it ends in `take_plan`
        remedy: what is said where the plan cannot be handed over
        """
        self.pool: ProcessPoolExecutor | None = None
        self.task: Task | None = None
        self.future: Future[Outcome] | None = None
        self.shown = console.Shown()
        self._take, self._threads, self._remedy = take, threads, remedy

    def _start(self) -> ProcessPoolExecutor:
        self.events, sender = Pipe(duplex=False)
        self._sender: Connection = sender  # kept open: reading the other end does not fail before `stop`
        self.pool = process_pool(1, _prepare, (sender, self._threads))
        self._ready = self.pool.submit(self._take)
        return self.pool

    def begin(self, task: Task) -> Future[Outcome]:
        try:
            self.future = (self.pool or self._start()).submit(_do, task)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.stop()
            self.future = self._start().submit(_do, task)
        self.task = task
        return self.future

    def sent(self) -> Iterator[console.Event]:
        """What it has sent to be shown since the last call, and losses."""
        while self.events.poll():
            try:
                yield self.events.recv()
            except (EOFError, OSError):  # it has died
                return

    def take(self) -> Outcome:
        """What became of the task that is done."""
        assert self.future is not None
        try:
            self._ready.result()
            outcome = self.future.result()
        except BrokenProcessPool:
            self.stop()
            outcome = Outcome(failure=ENDED)
        except Exception as error:  # a method's own classes may be of a kind that cannot be sent
            outcome = Outcome(failure=f"it cannot run in a process of its own ({error}); {self._remedy}")
        self.task = self.future = None
        return outcome

    def turn_away(self) -> None:
        """Take no more events: a worker that waits to send one goes on."""
        if self.pool is not None:
            self.events.close()

    def stop(self) -> None:
        """Let the process end, and leave no bar of it."""
        if self.pool is not None:
            self.pool.shutdown()
            self._sender.close()
            self.events.close()
            self.pool = None
        self.shown.stop()


def show(event: console.Event, shown: console.Shown, log: LogLosses) -> None:
    """Show what a worker has sent, or log its losses."""
    kind, *rest = event
    if kind == "losses":
        log(*rest)
    else:
        shown.show(event)


def require_dask(runtime: RuntimeConfig) -> None:
    """ConfigError with the remedy if a cluster is asked for and its package is missing."""
    if runtime.scheduler is not None and importlib.util.find_spec("distributed") is None:
        raise ConfigError("--scheduler needs the package distributed; pip install distributed")


def process_count(plan: Plan) -> int:
    """Processes for a plan: `runtime.processes`, or as many as have runs, cores and memory.

    It follows from the plan and the machine, not from what is stored, so that a run that is resumed computes with as
    many threads as before, to the last bit. On a GPU it is one.
    """
    runtime = plan.config.runtime
    if runtime.processes:
        return runtime.processes
    runs = sum(run.status == "planned" for run in plan.runs)
    cores = usable_cores()
    if runs < 2 or cores < 2 or (runtime.device != "cpu" and _has_gpu()):
        return 1
    import psutil

    room = int(min(psutil.virtual_memory().total, _memory_limit()) // MEMORY_EACH)
    return max(1, min(runs, cores, room, MOST))


def threads_each(processes: int) -> int:
    """Threads of each of so many processes."""
    return max(1, usable_cores() // processes)


def _memory_limit() -> float:
    """Bytes that the container may use, where there is a limit."""
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return math.inf


def _has_gpu() -> bool:
    if sys.platform == "linux" and not any(Path(device).exists() for device in GPU_DEVICES):
        return False  # without torch, which takes seconds to import
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


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


def take_plan(plan: Plan) -> None:
    """In a worker: the plan whose tasks it is going to do."""
    global _maker

    def log(run: int, values: Mapping[str, float], iteration: int) -> None:
        _send(("losses", run, dict(values), iteration))

    import torch

    torch.set_num_threads(usable_cores())
    _maker = Maker(plan, log=log)


def _do(task: Task) -> Outcome:
    assert _maker is not None
    return _maker.do(task)
