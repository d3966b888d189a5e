"""Work ahead of a consumer: threads that prepare items in order, copies to the device beside computation."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from datasets.files.cores import usable_cores

Item = TypeVar("Item")
Made = TypeVar("Made")


class Stopped(Exception):  # noqa: N818 - ends a worker whose consumer has left; nobody sees it
    pass


@dataclass(frozen=True)
class InFlight:
    """Tensors on their way to the device, and the event that says they have arrived (None on CPU)."""

    tensors: tuple[torch.Tensor, ...]
    event: torch.cuda.Event | None = None


class Transfer:
    """Copies to a device: on CUDA through pinned memory on a stream of its own, beside the computation."""

    def __init__(self, device: torch.device) -> None:
        self.asynchronous = device.type != "cpu"
        self._device = device
        self._cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Host memory, uint8, pinned on CUDA."""
        return torch.empty(tuple(map(int, shape)), dtype=torch.uint8, pin_memory=self._cuda)

    def send(self, tensors: tuple[torch.Tensor, ...]) -> InFlight:
        """Start the copy. Called from worker threads."""
        if not self._cuda:
            return InFlight(tuple(t.to(self._device) for t in tensors))
        with torch.cuda.stream(self._stream):
            moved = tuple(t.pin_memory().to(self._device, non_blocking=True) for t in tensors)
            event = torch.cuda.Event()
            event.record(self._stream)
        return InFlight(moved, event)

    def arrived(self, flight: InFlight) -> tuple[torch.Tensor, ...]:
        """The tensors, ready for the consumer's stream; the host does not wait."""
        if flight.event is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(flight.event)
            for tensor in flight.tensors:
                tensor.record_stream(current)
        return flight.tensors


def prefetched(
    make: Callable[[Item, threading.Event], Made],
    items: Iterable[Item],
    workers: int,
    waited: Callable[[float], None],
) -> Iterator[Made]:
    """`make` of every item, in order, computed ahead in threads; a consumer that leaves stops them.

    waited: told how long the consumer waited for each.

    Each thread computes alone: teams of threads below the workers would fight over the cores.
    """
    # A worker's setting becomes the default of every thread that has not asked yet. Asking settles the caller's
    # own number first; otherwise the training would go on with one thread.
    torch.get_num_threads()
    stopped = threading.Event()
    pool = ThreadPoolExecutor(workers, "loader", initializer=torch.set_num_threads, initargs=(1,))
    pending: deque[Future[Made]] = deque()

    def take() -> Made:
        began = time.perf_counter()
        made = pending.popleft().result()
        waited(time.perf_counter() - began)
        return made

    try:
        for item in items:
            pending.append(pool.submit(make, item, stopped))
            if len(pending) > workers + 1:
                yield take()
        while pending:
            yield take()
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)


def default_workers() -> int:
    """One thread per usable core, at most 8."""
    return min(usable_cores(), 8)
