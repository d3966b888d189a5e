"""Run a function over many images in threads, in order, holding only a few results at a time.

Threads suffice: decoding PNGs and the counting operations release the interpreter lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

from datasets.files.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 8
"""Items a task handles: the cost of handing over a task is that of a small image."""


@contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Keep torch from splitting operations while images are already spread over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """Like `map`, in `workers` threads (default: one per core); takes items lazily, stops at an error."""
    workers = workers or usable_cores()
    source = iter(items)
    pending: deque[Future[list[Result]]] = deque()

    def run(chunk: list[Item]) -> list[Result]:
        return [function(item) for item in chunk]

    with one_thread_per_operation(), ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(pending) < 2 * workers and (chunk := list(islice(source, CHUNK))):
                    pending.append(pool.submit(run, chunk))
                if not pending:
                    return
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
