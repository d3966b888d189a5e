"""What runs in the workers of a Dask cluster: each stage in a process of its own, as on one machine.

Such a process has the stage in its main thread, can be ended at once, and takes nothing along when it dies; the worker
goes on hearing its scheduler meanwhile. Loads no torch.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any

from distributed import Reschedule, get_worker
from distributed.core import Status

from benchmark import provenance
from benchmark.execution.processes import ENDED, POLL, Ends, WorkerProcess, take_plan
from benchmark.execution.tasks import Outcome, Task
from benchmark.planning.code_version import code_version
from benchmark.planning.plan import Plan
from datasets.base import DataError
from datasets.files.cores import usable_cores
from datasets.loading.workers import end_now

if TYPE_CHECKING:
    from distributed import Worker

IDLE = 30.0
"""Seconds that a process is kept for the next task of the same command."""
ENVIRONMENT = ("WSSS_WEIGHTS", "XDG_CACHE_HOME", "TORCH_HOME", "U2NET_HOME")
"""Variables that say where weights are; workers take those of the command."""


class ProcessDied(Exception):  # noqa: N818  # it is an event, and what Dask tries again
    """A task's process was ended from outside."""


@dataclass(frozen=True)
class Order:
    """What workers have to know of a command.

    plan: file with the pickled plan, in the store; digest: its SHA-256
    folder: the command's working folder, which relative paths in the plan start from
    data: folder of the first image, or None; environment: see `ENVIRONMENT`
    code, packages: versions of what decides numbers, by module and by package
    topic: of the events that are sent
    processes: how many stages a machine's cores are divided among; 0: as many as the worker makes at once
    """

    plan: Path
    digest: str
    folder: Path
    data: Path | None
    environment: Mapping[str, str]
    code: Mapping[str, str]
    packages: Mapping[str, str]
    topic: str
    processes: int


def code_of(plan: Plan) -> dict[str, str]:
    """Version of the code that makes a plan's artifacts, by module."""
    own = {planned.stage.run.split(":")[0] for run in plan.runs for planned in run.stages}
    return {module: code_version(module) for module in sorted({__name__, *own})}


async def unfit(order: Order) -> str:
    """Why this worker cannot work for a command, with the remedy; "" where it can."""
    return await asyncio.to_thread(_unfit, order)  # it hears its scheduler meanwhile


def _unfit(order: Order) -> str:
    try:
        return _misfit(order)
    except OSError as error:  # a folder that it must not look into, say
        return (
            f"{error.filename}: {error.strerror}; let the worker read it, or start it as the command's user"
        )


def _misfit(order: Order) -> str:
    store = order.plan.parent.parent
    for folder in (order.folder, order.data, store):
        if folder is not None and not folder.is_dir():
            return f"it does not see {folder}; put it on a file system that all machines share"
    if _digest(order.plan) != order.digest or not os.access(store, os.W_OK):
        return (
            f"its {store} is not this command's, or cannot be written; set runtime.store to a folder that all machines "
            "share"
        )
    if _other_code(order):
        return "its code is not this command's; install the same version there, and start the worker again"
    for name, version in provenance.packages().items():
        if (ours := order.packages.get(name)) != version:
            return f"it has {name} {version}, this command {ours}; install the same version there"
    if current_process().daemon:
        return "it may start no processes; start it with `dask worker --no-nanny`"
    return ""


def _other_code(order: Order) -> bool:
    return any(code_version(module) != version for module, version in order.code.items())


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def take_ordered(order: Order) -> None:
    """In the process that does the tasks: the plan of a command, with its working folder and environment."""
    os.chdir(order.folder)
    for name in ENVIRONMENT:
        os.environ.pop(name, None)
    os.environ.update(order.environment)
    if _other_code(order):
        raise DataError("the code has changed since the command began; run it again")
    data = order.plan.read_bytes()
    if hashlib.sha256(data).hexdigest() != order.digest:
        raise DataError(f"{order.plan} is not what the command has written")
    take_plan(pickle.loads(data))


def make(order: Order, task: Task) -> Outcome:
    """Do a task of a command in a process of its own, and send the command what it shows.

    Raises ProcessDied where that process was ended from outside. Where the task is cancelled, or this worker closes,
    the process is ended: interrupted, and killed after a few seconds.
    """
    worker = get_worker()
    key = worker.get_current_task()
    process = _processes.get(order, threads_of_stage(order, worker.state.nthreads))
    ends = Ends()
    future = process.begin(task)
    future.add_done_callback(ends.note)
    ended = False
    try:
        while not ended:
            wait([ends.connection, process.events], POLL)
            ended = future.done()  # before its last events are read
            for event in process.sent():
                worker.log_event(order.topic, (task.name, event))
            if not ended and _is_stopped(worker, key):
                raise Reschedule
    except BaseException:
        assert process.pool is not None
        process.turn_away()
        end_now([process.pool])
        process.stop()
        raise
    outcome = process.take()
    if outcome.failure == ENDED:
        raise ProcessDied
    _processes.keep(order, process)
    return outcome


def threads_of_stage(order: Order, at_once: int) -> int:
    """Threads of each stage on a worker that makes so many at once; as in a pool of so many processes."""
    return max(1, usable_cores() // (order.processes or at_once))


def _is_stopped(worker: Worker, key: Any) -> bool:
    """Whether nobody wants the task any more: it was cancelled, its command is gone, or this worker closes."""
    state = worker.state.tasks.get(key)
    closing = worker.status in (Status.closing, Status.closed, Status.failed, Status.stopping)
    return closing or state is None or state.state == "cancelled"


class _Processes:
    """The processes that have nothing to do at present, which end after a while."""

    def __init__(self) -> None:
        self._idle: list[tuple[Order, WorkerProcess, Timer]] = []
        self._lock = Lock()

    def get(self, order: Order, threads: int) -> WorkerProcess:
        """One that has the plan, or a new one. Those of other commands end: memory is for who works."""
        with self._lock:
            idle, self._idle = self._idle, [each for each in self._idle if each[0] == order]
            found = self._idle.pop() if self._idle else None
        for other, process, timer in idle:
            if other != order:
                timer.cancel()
                process.stop()
        if found is not None:
            found[2].cancel()
            return found[1]
        remedy = "install on every machine what this command has"
        return WorkerProcess(partial(take_ordered, order), threads, remedy)

    def keep(self, order: Order, process: WorkerProcess) -> None:
        timer = Timer(IDLE, self._drop, [process])
        timer.daemon = True
        with self._lock:
            self._idle.append((order, process, timer))
        timer.start()

    def _drop(self, process: WorkerProcess) -> None:
        with self._lock:
            before, self._idle = self._idle, [each for each in self._idle if each[1] is not process]
            was_idle = len(self._idle) < len(before)
        if was_idle:
            process.stop()


_processes = _Processes()
