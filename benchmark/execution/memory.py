"""Peak memory while something runs: of this process with its children, and of the CUDA device."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from pathlib import Path
from types import TracebackType

import psutil

INTERVAL = 0.1
"""Seconds between two looks at the processes' memory."""
MEGABYTE = 1e6
MANY = 100_000
"""Objects that a search for unused ones should not look at time and again."""


class PeakMemory:
    """Context manager; afterwards `host_mb` and `device_mb` are the peaks in MB (10^6 bytes).

    host_mb:   resident memory of this process and its children together, looked at every `INTERVAL` seconds; of
               this process alone also the kernel's own high-water mark, where Linux lets it be reset
    device_mb: largest amount that tensors took on the current CUDA device; None without one
    before_mb: resident memory of this process at the beginning
    """

    host_mb: float
    device_mb: float | None = None

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._marked = _reset_mark()
        self.before_mb = self._process.memory_info().rss / MEGABYTE
        self.host_mb = self.before_mb
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()
        if self._marked:
            self.host_mb = max(self.host_mb, _mark())
        if (cuda := _cuda()) is not None:
            self.device_mb = cuda.max_memory_allocated() / MEGABYTE

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # a child that has just ended
                continue
        self.host_mb = max(self.host_mb, total / MEGABYTE)


def release_unused() -> None:
    """Give freed memory back to the system, so that what was used before does not hide what is used next."""
    gc.collect()
    if len(gc.get_objects()) > MANY:
        gc.freeze()  # libraries', half a million of them: a quarter of a second in each of the next searches
    if (cuda := _cuda()) is not None:
        cuda.empty_cache()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def _cuda():  # type: ignore[no-untyped-def]
    """torch.cuda if this process uses it already."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _reset_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _mark() -> float:
    """The kernel's high-water mark of this process' resident memory, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return kilobytes * 1024 / MEGABYTE
