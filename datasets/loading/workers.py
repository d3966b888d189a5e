"""Pools of processes that end with the process that made them, however it ends. Light to import, as workers do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.resource_tracker import ensure_running
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def process_pool(
    workers: int, initializer: Callable[..., object] | None = None, initargs: tuple[object, ...] = ()
) -> ProcessPoolExecutor:
    """An executor of spawned processes; use it as a context manager. A pool can be made inside a worker, too.

    Workers end by themselves when this process is gone, killed included; one in a C call that holds the
    interpreter's lock does so after the call. They never hear Ctrl-C, which a terminal sends to them, too.
    Left by an exception, Ctrl-C's included, the pool drops what waits and interrupts what runs (KeyboardInterrupt in
    the task); `shutdown` waits for what runs.

    workers:     at most as many processes, started as tasks come
    initializer: called with initargs in each before its first task
    """
    # Not forked: a fork of a process with torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, mp_context=context, initializer=_begin, initargs=(initializer, initargs))


class _Pool(ProcessPoolExecutor):
    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with _deaf_to_interrupts():  # processes are started here
            return super().submit(partial(_task, function, *args, **kwargs))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in list((self._processes or {}).values()):
                process.terminate()
        self.shutdown(cancel_futures=kind is not None)


def end_now(pools: Sequence[ProcessPoolExecutor], patience: float = 5.0) -> None:
    """Interrupt what runs in all of these pools at once; what does not end within `patience` seconds is killed."""
    processes = [p for pool in pools for p in list((pool._processes or {}).values())]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
    for pool in pools:
        pool.shutdown(cancel_futures=True)


def _begin(initializer: Callable[..., object] | None, initargs: tuple[object, ...]) -> None:
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _task(function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Terminated, the task is interrupted and leaves its contexts in order; at other times the worker just ends."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return function(*args, **kwargs)
    except KeyboardInterrupt:
        os._exit(1)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # others of a pool that ends terminate again
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A worker alone would wait for ever: it holds both ends of the pipe that tasks come through."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is heard at the end; processes started meanwhile never hear it, and are ended by this one.

    That it is blocked is inherited, so they are deaf from their first instruction on; with an initializer they would
    print a traceback where it comes while they import.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where no signal goes to a group
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    ensure_running()  # starting it, as the first process of a pool does, would unblock the signal
    heard: list[int] = []
    main = threading.current_thread() is threading.main_thread()  # no other may say what a signal does
    if main:  # another thread takes the signal then, but the handler runs in this one
        before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if main:
            signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if heard:
        signal.raise_signal(signal.SIGINT)
