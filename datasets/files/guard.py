"""Keeps masks shut while a method trains: opening one raises, in every thread.

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


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _closed or event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    _check(os.fsdecode(arguments[0]))


def _check(path: str) -> None:
    """PermissionError for a path that is closed."""
    spellings = _spellings(path)
    for prefixes, files in _closed:
        if any(s in files or s.startswith(prefixes) for s in spellings):
            raise PermissionError(
                f"training must not open a mask: {path}; declare Supervision.MASKS and use context.masks()"
            )


def _spellings(path: Path | str) -> set[str]:
    # Both: a link elsewhere may lead to a mask, and a mask may itself be a link to elsewhere.
    return {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100 - resolve() would follow the links


def _checked(reader: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(reader, assigned=(), updated=())
    def read(*arguments: Any, **settings: Any) -> Any:
        if _closed:
            _check(os.fsdecode(arguments[0] if arguments else settings["filename"]))
        return reader(*arguments, **settings)

    return read


def _wrap_readers(package: str) -> None:
    """Those that an imported package brings, each once."""
    place, names = NATIVE_READERS[package]
    top, *inner = place.split(".")
    owner = functools.reduce(getattr, inner, sys.modules[top])
    for name in names:
        reader = getattr(owner, name, None)  # torchvision may have been built without
        if reader is not None and not hasattr(reader, "__wrapped__"):
            setattr(owner, name, _checked(reader))


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


@contextmanager
def masks_closed(directories: Iterable[Path], files: Iterable[Path] = ()) -> Iterator[None]:
    """While active, opening a file under `directories`, or one of `files`, raises PermissionError.

    It holds in all threads. May be nested; the union is closed. An audit hook cannot be removed, so one is
    installed at the first use and returns at once while no guard is active; so do the wrapped readers.
    """
    global _installed, _closed
    prefixes = tuple(s.rstrip(os.sep) + os.sep for d in directories for s in sorted(_spellings(d)))
    entry = (prefixes, frozenset(s for f in files for s in _spellings(f)))
    with _lock:
        if not _installed:
            sys.addaudithook(_hook)
            sys.meta_path.insert(0, _WhenImported())
            _installed = True
        for package in NATIVE_READERS.keys() & sys.modules.keys():
            _wrap_readers(package)
        _closed = (*_closed, entry)
    try:
        yield
    finally:
        with _lock:
            remaining = list(_closed)
            remaining.remove(entry)  # equal entries are interchangeable
            _closed = tuple(remaining)
