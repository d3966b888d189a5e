"""Keeps masks shut while a method trains: opening one raises, in every thread. Says which files were opened.

An audit hook sees what goes through Python's `open`: the built-in, `os.open`, pathlib, Pillow, `numpy.fromfile`,
this project's decoders. torchvision and OpenCV open paths by themselves, so their readers (`NATIVE_READERS`) are
wrapped, as soon as somebody imports them. Not seen are other libraries' C++ code, an OpenCV reader that a module took
by name before the first guard (`from cv2 import imread`), and new processes; methods are handed no mask paths in the
first place (`datasets.base.TrainingView`).
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

NATIVE_READERS = {
    "torchvision.io": ("torch.ops.image", ("read_file",)),  # of read_image and decode_image, too
    "cv2": ("cv2", ("imread", "imreadmulti")),
}
"""Package that brings them -> where they are looked up when called, names."""

_lock = threading.Lock()
_installed = False
# One entry per active guard: (prefixes of directories, files). Replaced whole: the hook reads without a lock.
_closed: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = ()
# One set per active `files_opened`, replaced whole as well.
_records: tuple[set[str], ...] = ()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if (
        event != "open"
        or not (_closed or _records)
        or not isinstance(arguments[0], str | bytes | os.PathLike)
    ):
        return
    flags = arguments[-1]
    _note(os.fsdecode(arguments[0]), reading=not isinstance(flags, int) or not flags & os.O_WRONLY)


def _note(path: str, reading: bool = True) -> None:
    """Record a path that is being opened; PermissionError if it is closed."""
    if reading:
        for record in _records:
            record.add(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    if not _closed:
        return
    spellings = _spellings(path)
    for prefixes, files in _closed:
        if any(s in files or s.startswith(prefixes) for s in spellings):
            raise PermissionError(
                f"training must not open a mask: {path}; declare Supervision.MASKS and use context.masks()"
            )


def _spellings(path: Path | str) -> set[str]:
    # Both: a link elsewhere may lead to a mask, and a mask may itself be a link to elsewhere.
    return {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100 - resolve() would follow the links


class _Checked:
    """A reader behind a check; all else of it stays, as torch.export looks through torch's operators."""

    def __init__(self, reader: Callable[..., Any]) -> None:
        self.__wrapped__ = reader

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        if _closed or _records:
            _note(os.fsdecode(arguments[0] if arguments else settings["filename"]))
        return self.__wrapped__(*arguments, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)


def _wrap_readers(package: str) -> None:
    """Those that an imported package brings, each once."""
    place, names = NATIVE_READERS[package]
    top, *inner = place.split(".")
    owner = functools.reduce(getattr, inner, sys.modules[top])
    for name in names:
        reader = getattr(owner, name, None)  # torchvision may have been built without
        if reader is not None and not isinstance(reader, _Checked):
            setattr(owner, name, _Checked(reader))


class _WhenImported(importlib.abc.MetaPathFinder):
    """Wraps readers at the end of their package's import: importing torchvision here costs a second of every run."""

    def __init__(self) -> None:
        self.expected = set(NATIVE_READERS)

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.expected:
            return None
        self.expected.remove(fullname)  # so that the search goes on to the other finders
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.expected.add(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _wrap_readers(fullname)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _install() -> None:
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        sys.meta_path.insert(0, _WhenImported())
        _installed = True
    for package in NATIVE_READERS.keys() & sys.modules.keys():
        _wrap_readers(package)


@contextmanager
def files_opened() -> Iterator[set[str]]:
    """Collects the absolute paths of what is opened for reading while active, in all threads; links are not followed.

    Paths that are refused, or that lead to no file, are among them. What `masks_closed` does not see is not.
    """
    global _records
    found: set[str] = set()
    with _lock:
        _install()
        _records = (*_records, found)
    try:
        yield found
    finally:
        with _lock:
            _records = tuple(record for record in _records if record is not found)


@contextmanager
def masks_closed(directories: Iterable[Path], files: Iterable[Path] = ()) -> Iterator[None]:
    """While active, opening a file under `directories`, or one of `files`, raises PermissionError.

    It holds in all threads. May be nested; the union is closed. An audit hook cannot be removed, so one is
    installed at the first use and returns at once while no guard is active; so do the wrapped readers.
    """
    global _closed
    prefixes = tuple(s.rstrip(os.sep) + os.sep for d in directories for s in sorted(_spellings(d)))
    entry = (prefixes, frozenset(s for f in files for s in _spellings(f)))
    with _lock:
        _install()
        _closed = (*_closed, entry)
    try:
        yield
    finally:
        with _lock:
            remaining = list(_closed)
            remaining.remove(entry)  # equal entries are interchangeable
            _closed = tuple(remaining)
