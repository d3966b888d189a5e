"""Tasks done by the workers of a Dask scheduler, which share this command's store.

The agenda says which task is next, as on one machine; Dask brings it to a worker, does it again where a worker dies, and
tells what workers show. No more tasks are given to Dask than its workers make at once: given all, it would queue them on
workers by guesses of how long they take, behind trainings of hours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from traceback import format_exception
from types import TracebackType
from typing import Any

from distributed import Client, Future, KilledWorker

from benchmark import provenance
from benchmark.console import Shown, console
from benchmark.execution.cluster_places import GPU, Place, Places, needs_device
from benchmark.execution.cluster_worker import ENVIRONMENT, Order, ProcessDied, code_of, make, unfit
from benchmark.execution.making import LogLosses
from benchmark.execution.processes import POLL, show
from benchmark.execution.tasks import Outcome, Task
from benchmark.failures import ConfigError
from benchmark.planning.plan import Plan

RETRIES = 2
"""How often a stage whose process was killed is tried again. What a worker takes along that dies itself is done again as
often as the scheduler allows (`distributed.scheduler.allowed-failures`, 3)."""
CONNECT = 10.0
"""Seconds for a scheduler to answer."""
PATIENCE = 120.0
"""Seconds that a command waits for the first worker: a batch script may start both at once."""
REFRESH = 2.0
"""Seconds between two looks at who is there."""
PLANS = "plans"
"""Folder of the store with the plans of commands at work on a cluster."""
FORGOTTEN = 30 * 86400
"""Seconds after which a plan is taken for one whose command was killed."""
KILLED = (
    "the processes that worked on it were ended from outside, one after the other, perhaps for want of memory; run the "
    "same command again: it resumes (fewer stages at once, `dask worker --nthreads 1`, need less memory)"
)


@dataclass
class _Begun:
    """A task at work. future: None while no worker could do it; candidates: who may do it"""

    task: Task
    device: bool
    shown: Shown = field(default_factory=Shown)
    future: Future | None = None
    candidates: list[str] = field(default_factory=list)


class Cluster:
    """Does tasks on a cluster; use as a context manager. Left by an exception, it has what runs cancelled.

    Workers are looked at before they are given anything: the same code and packages, the same store. One that is unfit
    is named and left out; one that comes later takes part.
    """

    def __init__(
        self,
        plan: Plan,
        scheduler: str,
        log: LogLosses,
        urgency: Callable[[Task], float] | None = None,
    ) -> None:
        """scheduler: address, or file that names it; log: told the losses of trainings; urgency: see `Agenda`"""
        self._plan, self._scheduler, self._log = plan, scheduler, log
        self._urgency = urgency or (lambda task: 0.0)
        self._places = Places()
        self._begun: dict[str, _Begun] = {}
        self._refused: set[str] = set()
        self._told: Queue[tuple[str, Any]] = Queue()
        self._devices = False
        """Whether a worker has declared a GPU: what needs one waits for the next if it goes."""
        self._looked, self._waits = -REFRESH, False

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            self._client = connect(self._scheduler)
            stack.callback(self._close)
            self._order = self._write_order()
            stack.callback(self._order.plan.unlink, missing_ok=True)
            self._client.subscribe_topic(self._order.topic, self._hear)
            self._find_workers()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for begun in self._begun.values():
            begun.shown.stop()
        if kind is not None and self._is_connected:
            with suppress(OSError):
                self._client.cancel([begun.future for begun in self._begun.values() if begun.future])
        self._stack.close()

    @property
    def _is_connected(self) -> bool:
        return bool(self._client.status == "running")

    def _close(self) -> None:
        with suppress(OSError):  # the scheduler may be gone
            self._client.close(timeout=2 if self._is_connected else 0)

    def _write_order(self) -> Order:
        plan = self._plan
        try:
            data = pickle.dumps(plan)
        except Exception as error:  # a method's own classes may be of a kind that cannot be sent
            raise ConfigError(
                f"the plan cannot be sent to workers ({error}); run it without --scheduler"
            ) from error
        folder = plan.store.root.absolute() / PLANS
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.pickle"):
            if time.time() - file.stat().st_mtime > FORGOTTEN:
                file.unlink(missing_ok=True)
        name = uuid.uuid4().hex
        file = folder / f"{name}.pickle"
        file.touch(mode=0o600)
        file.write_bytes(data)
        images = [
            str(sample.image) for split in ("train", "val") for sample in plan.dataset.samples(split)[:1]
        ]
        return Order(
            file,
            hashlib.sha256(data).hexdigest(),
            Path.cwd(),
            Path(images[0]).absolute().parent if images else None,
            {each: os.environ[each] for each in ENVIRONMENT if each in os.environ},
            code_of(plan),
            provenance.packages(),
            f"wsss-{name}",
            plan.config.runtime.processes,
        )

    def _find_workers(self) -> None:
        """Wait for workers; ConfigError where none is fit, or none comes."""
        deadline = time.monotonic() + PATIENCE
        said = False
        while not self._refresh():
            if self._refused:
                raise ConfigError(f"no worker of {self._scheduler} can be used: see above")
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"no worker has come to {self._scheduler}; start some: {_worker_command(self._scheduler)}"
                )
            if not said:
                said = True
                console.print(f"waiting for workers of {self._scheduler}", markup=False)
            with suppress(TimeoutError):
                self._client.wait_for_workers(1, timeout=REFRESH)
        slots = sum(place.slots for place in self._places.workers.values())
        count = len(self._places.workers)
        console.print(
            f"{count} worker{'s' if count != 1 else ''} of {self._scheduler}: {slots} stages at once",
            markup=False,
        )

    def _hear(self, event: tuple[float, Any]) -> None:
        self._told.put(event[1])

    def takes(self, task: Task) -> bool:
        return not self._begun or self._places.has_room(self._for_device(task))

    def _for_device(self, task: Task) -> bool:
        return self._devices and needs_device(self._plan, task)

    def begin(self, task: Task) -> None:
        with suppress(OSError):
            os.utime(self._order.plan)  # see `FORGOTTEN`
        begun = self._begun[task.name] = _Begun(task, self._for_device(task))
        self._submit(begun)

    def _submit(self, begun: _Begun) -> None:
        task = begun.task
        begun.device = self._for_device(task)
        begun.candidates = self._places.candidates(begun.device)
        if not begun.candidates:
            begun.future = None
            return
        self._count(begun, 1)
        name = task.name

        def done(future: Future) -> None:
            self._told.put((name, ("done", future)))

        begun.future = self._client.submit(
            make,
            self._order,
            task,
            key=f"{name}/{uuid.uuid4().hex}",  # another command's task is its own: the store's locks decide
            workers=begun.candidates,
            resources={GPU: 1} if begun.device else None,
            priority=self._urgency(task),
            retries=RETRIES,
            pure=False,
        )
        begun.future.add_done_callback(done)

    def _count(self, begun: _Begun, change: int) -> None:
        if begun.device:
            self._places.with_device += change
        else:
            self._places.others += change

    def ended(self) -> Iterator[tuple[Task, Outcome]]:
        with suppress(Empty):
            told = self._told.get(timeout=POLL)
            while True:
                yield from self._take(*told)
                told = self._told.get_nowait()
        if not self._is_connected:
            raise self._lost()
        if time.monotonic() - self._looked >= REFRESH:
            self._refresh()

    def _take(self, name: str, event: tuple[Any, ...]) -> Iterator[tuple[Task, Outcome]]:
        if (begun := self._begun.get(name)) is None:
            return
        kind, *rest = event
        if kind != "done":
            show(event, begun.shown, self._log)
        elif rest[0] is begun.future:  # else it was given to another worker meanwhile
            outcome = self._outcome(begun.future)
            self._count(begun, -1)
            begun.shown.stop()
            if outcome is None:
                self._submit(begun)
            else:
                del self._begun[name]
                yield begun.task, outcome

    def _outcome(self, future: Future) -> Outcome | None:
        """None where it has none and has to be tried again."""
        try:
            if future.status == "error":
                error = future.exception()
                if isinstance(error, (KilledWorker, ProcessDied)):
                    return Outcome(failure=KILLED)
                text = " ".join(str(error).split())
                return Outcome(
                    failure=f"{type(error).__name__}: {text}", traceback="".join(format_exception(error))
                )
            if future.status == "finished":
                outcome: Outcome = future.result(timeout=CONNECT)  # its worker may have gone since
                return outcome
        except (OSError, CancelledError) as error:
            if not self._is_connected:
                raise self._lost() from error
            return None
        if not self._is_connected:
            raise self._lost()
        return None

    def _lost(self) -> ConfigError:
        return ConfigError(
            f"the scheduler {self._scheduler} is gone; everything finished is stored: start a scheduler and workers, and "
            "run the same command again, which resumes"
        )

    def _refresh(self) -> bool:
        """Look at who is there; what nobody can do any more is given to others. Returns whether anybody is."""
        self._looked = time.monotonic()
        try:
            # `scheduler_info` may give what a background task has just fetched, which is without workers.
            scheduler = self._client.scheduler
            assert scheduler is not None
            there: Mapping[str, Any] = self._client.sync(scheduler.identity, n_workers=-1)["workers"]
            gone = self._places.workers.keys() - there.keys()
            for address in gone:
                del self._places.workers[address]
                console.print(f"worker {address} is gone", style="yellow", markup=False)
            self._refused &= there.keys()
            if new := [
                each for each in there if each not in self._places.workers and each not in self._refused
            ]:
                self._admit(new, there)
        except OSError as error:
            raise self._lost() from error
        for begun in self._begun.values():
            if self._places.workers.keys().isdisjoint(begun.candidates):
                if begun.future is not None:
                    self._count(begun, -1)
                    with suppress(OSError):  # its scheduler is gone: said below
                        begun.future.cancel()
                self._submit(begun)
        waiting = [begun for begun in self._begun.values() if begun.future is None]
        if waiting and not self._waits:
            what = " with a GPU" if self._places.workers else ""
            console.print(
                f"no worker{what} is left; waiting for one: {_worker_command(self._scheduler)}",
                style="yellow",
                markup=False,
            )
        self._waits = bool(waiting)
        return bool(self._places.workers)

    def _admit(self, addresses: list[str], there: Mapping[str, Any]) -> None:
        found = self._client.run(unfit, self._order, workers=addresses, on_error="return")
        for address in addresses:
            reason = found.get(address, "")
            if isinstance(reason, OSError):  # it has just gone
                continue
            if isinstance(reason, Exception):  # ImportError, say
                reason = f"{type(reason).__name__}: {reason}; install there what this command has"
            if reason:
                self._refused.add(address)
                console.print(f"worker {address} is left out: {reason}", style="yellow", markup=False)
                continue
            worker = there[address]
            place = Place(worker["nthreads"], int(worker["resources"].get(GPU, 0)))
            self._places.workers[address] = place
            self._devices |= place.devices > 0
            if self._begun:
                console.print(f"worker {address} takes part", markup=False)


def connect(scheduler: str) -> Client:
    """A client of a running scheduler. Raises ConfigError where none answers.

    scheduler: its address, or the file that `dask scheduler --scheduler-file` writes
    """
    address = scheduler
    if "://" not in scheduler and not re.fullmatch(r"[\w.\[\]:-]+:\d+", scheduler):
        try:
            address = json.loads(Path(scheduler).read_text())["address"]
        except OSError as error:
            raise ConfigError(
                f"--scheduler {scheduler}: {error.strerror}; `dask scheduler --scheduler-file {scheduler}` writes it; "
                "or give an address, such as tcp://HOST:8786"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--scheduler {scheduler}: this is no file of a Dask scheduler") from error
    for name in ("distributed", "distributed.client"):  # the latter has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said here
    try:
        return Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address}; start `dask scheduler`, or give the address of one that runs"
        ) from error


def _worker_command(scheduler: str) -> str:
    given = scheduler if "://" in scheduler else f"--scheduler-file {scheduler}"
    return f"dask worker --preload wsss_benchmark --no-nanny --nthreads 1 {given}"
