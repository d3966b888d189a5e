"""What a person sees while a run works: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def on_one_line(text: str) -> str:
    """Text whose control characters, and those that turn the direction of writing around, are written as escapes."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


class _Console(Console):
    """Shows control characters in what it prints, which names of files may have, as escapes: a terminal obeys them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            lines = [] if segment.control else segment.text.split("\n")
            yield segment._replace(text="\n".join(map(on_one_line, lines))) if lines else segment


console = _Console(highlight=False, soft_wrap=True)
PLAIN_INTERVAL = 15.0
"""Seconds between two lines of a plain log."""
SEND_INTERVAL = 0.25
"""Seconds between two reports of progress from a worker process."""


class Progress(Protocol):
    def start(self, total: int, unit: str, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def note(self, text: str) -> None: ...
    def stop(self) -> None: ...


def stage_progress(title: str) -> Progress:
    """A progress display for one stage, fit for where the output goes."""
    if _send is not None:
        return _Forwarded(title, _send)
    return _Bar(title) if sys.stdout.isatty() else _Lines(title)


Event = tuple[Any, ...]
"""What a worker process sends to be shown: ("print", text), or ("start", "advance", "note", "stop", title, ...)."""
_send: Callable[[Event], None] | None = None


def forward(send: Callable[[Event], None]) -> None:
    """From now on, all that this process would show goes to `send`; for workers, whose parent has the terminal."""
    global _send
    _send = send
    console.file = _Sent(send)  # type: ignore[assignment]  # a text file but for its attribute `name`


class Shown:
    """Shows the events of worker processes."""

    def __init__(self) -> None:
        self._stages: dict[str, Progress] = {}

    def show(self, event: Event) -> None:
        kind, *rest = event
        if kind == "print":
            from rich.text import Text

            console.print(Text.from_ansi(rest[0]))  # with the colours that the worker gave it
            return
        title, *values = rest
        getattr(self._stages.setdefault(title, stage_progress(title)), kind)(*values)
        if kind == "stop":
            del self._stages[title]

    def stop(self) -> None:
        """Leave no bar of a process that has ended."""
        for progress in self._stages.values():
            progress.stop()
        self._stages.clear()


class _Sent(io.TextIOBase):
    """A file whose lines are sent."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send, self._text = send, ""

    def write(self, text: str) -> int:
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            self._send(("print", line))
        return len(text)


class _Forwarded:
    """The progress of a stage in a worker process, sent a few times a second."""

    def __init__(self, title: str, send: Callable[[Event], None]) -> None:
        self._title, self._send = title, send
        self._count, self._last = 0, 0.0

    def start(self, total: int, unit: str, done: int = 0) -> None:
        self._send(("start", self._title, total, unit, done))

    def advance(self, count: int) -> None:
        self._count += count
        if time.perf_counter() - self._last >= SEND_INTERVAL:
            self._flush()

    def note(self, text: str) -> None:
        self._send(("note", self._title, text))

    def stop(self) -> None:
        self._flush()
        self._send(("stop", self._title))

    def _flush(self) -> None:
        if self._count:
            self._send(("advance", self._title, self._count))
        self._count, self._last = 0, time.perf_counter()


class _Live:
    """The bars on the terminal: rich shows one display at a time, so all stages share it."""

    def __init__(self) -> None:
        self._display: Any = None

    def add(self, title: str, total: int, done: int) -> Any:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        if self._display is None:
            self._display = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("[dim]{task.fields[note]}"),
                console=console,
                transient=True,
            )
            self._display.start()
        return self._display.add_task(title, total=total, completed=done, rate="", note="")

    def update(self, task: Any, **fields: Any) -> None:
        self._display.update(task, **fields)

    def completed(self, task: Any) -> float:
        return float(next(t.completed for t in self._display.tasks if t.id == task))

    def remove(self, task: Any) -> None:
        self._display.remove_task(task)
        if not self._display.tasks:
            self._display.stop()
            self._display = None


_live = _Live()


class _Bar:
    def __init__(self, title: str) -> None:
        self._title = title
        self._task: Any = None

    def start(self, total: int, unit: str, done: int = 0) -> None:
        self.stop()
        self._began, self._first, self._unit = time.perf_counter(), done, unit
        self._task = _live.add(self._title, total, done)

    def advance(self, count: int) -> None:
        if self._task is None:
            return
        _live.update(self._task, advance=count)
        done = _live.completed(self._task) - self._first
        rate = done / max(time.perf_counter() - self._began, 1e-6)
        _live.update(self._task, rate=f"{rate:.1f} {self._unit}/s")

    def note(self, text: str) -> None:
        if self._task is not None:
            _live.update(self._task, note=text)

    def stop(self) -> None:
        if self._task is not None:
            _live.remove(self._task)
            self._task = None


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
