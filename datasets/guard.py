"""Keeps masks shut while a method trains: opening one raises, in every thread.

The hook sees what goes through Python's `open`: the built-in, `os.open`, pathlib, Pillow, `numpy.fromfile`,
this project's decoders. It cannot see C++ code that opens paths by itself (`torchvision.io`, OpenCV), nor new
processes; methods are handed no mask paths in the first place (`datasets.base.TrainingView`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_installed = False
# One entry per active guard: (prefixes of directories, files). Replaced whole: the hook reads without a lock.
_closed: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    closed = _closed
    if not closed or event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.fsdecode(arguments[0])
    spellings = _spellings(path)
    for prefixes, files in closed:
        if any(s in files or s.startswith(prefixes) for s in spellings):
            raise PermissionError(
                f"training must not open a mask: {path}; declare Supervision.MASKS and use context.masks()"
            )


def _spellings(path: Path | str) -> set[str]:
    # Both: a link elsewhere may lead to a mask, and a mask may itself be a link to elsewhere.
    return {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100 - resolve() would follow the links


@contextmanager
def masks_closed(directories: Iterable[Path], files: Iterable[Path] = ()) -> Iterator[None]:
    """While active, opening a file under `directories`, or one of `files`, raises PermissionError.

    It holds in all threads. May be nested; the union is closed. An audit hook cannot be removed, so one is
    installed at the first use and returns at once while no guard is active.
    """
    global _installed, _closed
    prefixes = tuple(s.rstrip(os.sep) + os.sep for d in directories for s in sorted(_spellings(d)))
    entry = (prefixes, frozenset(s for f in files for s in _spellings(f)))
    with _lock:
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True
        _closed = (*_closed, entry)
    try:
        yield
    finally:
        with _lock:
            remaining = list(_closed)
            remaining.remove(entry)  # equal entries are interchangeable
            _closed = tuple(remaining)
