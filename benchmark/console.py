"""What a person sees while a run works: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)
PLAIN_INTERVAL = 15.0
"""Seconds between two lines of a plain log."""


class Progress(Protocol):
    def start(self, total: int, unit: str, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
    def stop(self) -> None: ...


def stage_progress(title: str) -> Progress:
    """A progress display for one stage, fit for where the output goes."""
    return _Bar(title) if sys.stdout.isatty() else _Lines(title)


class _Bar:
    def __init__(self, title: str) -> None:
        self._title = title
        self._progress: Any = None
        self._first = 0
        self._began = time.perf_counter()
        self._unit = ""

    def start(self, total: int, unit: str, done: int = 0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.stop()
        self._began, self._first, self._unit = time.perf_counter(), done, unit
        self._progress = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(self._title, total=total, completed=done, rate="", note="")

    def advance(self, count: int) -> None:
        if self._progress is None:
            return
        self._progress.advance(self._task, count)
        done = self._progress.tasks[0].completed - self._first
        rate = done / max(time.perf_counter() - self._began, 1e-6)
        self._progress.update(self._task, rate=f"{rate:.1f} {self._unit}/s")

    def note(self, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, note=text)

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._note = ""
        self._unit = ""
        self._total = self._done = self._first = 0
        self._began = self._last = time.perf_counter()

    def start(self, total: int, unit: str, done: int = 0) -> None:
        self._total, self._unit, self._done, self._first = total, unit, done, done
        self._began = self._last = time.perf_counter()
        if done:
            console.print(f"  {self._title}: resuming at {done}/{total} {unit}", markup=False)

    def advance(self, count: int) -> None:
        self._done += count
        now = time.perf_counter()
        if now - self._last >= PLAIN_INTERVAL and self._done < self._total:
            self._last = now
            rate = (self._done - self._first) / (now - self._began)
            left = (self._total - self._done) / max(rate, 1e-9)
            note = f" · {self._note}" if self._note else ""
            console.print(
                f"  {self._title}: {self._done}/{self._total} {self._unit}, "
                f"{rate:.1f} {self._unit}/s, {duration(left)} left{note}",
                markup=False,
            )

    def note(self, text: str) -> None:
        self._note = text

    def stop(self) -> None: ...


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
