"""rembg's saliency detectors: opening one, which fetches its file. Light to import (no torch)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from methods.base import MethodError

if TYPE_CHECKING:
    from rembg.sessions.base import BaseSession

INSTALL = "pip install 'rembg[cpu]'"


def check_installed() -> None:
    """MethodError that names the extra where rembg is not installed."""
    if importlib.util.find_spec("rembg") is None or importlib.util.find_spec("onnxruntime") is None:
        raise MethodError(f"saliency.source=rembg needs the packages rembg and onnxruntime; {INSTALL}")


def open_session(model: str, folder: Path, **arguments: Any) -> BaseSession:
    """rembg's session for a model whose file lies in `folder`, or is fetched to it by rembg.

    Raises what rembg, onnxruntime, pooch and requests raise.
    """
    check_installed()
    with _u2net_home(folder):
        return _import_rembg().new_session(model, **arguments)


def _import_rembg() -> ModuleType:
    """Import rembg without compiling pymatting, which it imports and numba compiles for a minute the first
    time (and every time where numba's cache cannot be written). No matting is done here."""
    config: Any = importlib.import_module("numba").config
    before = config.DISABLE_JIT
    config.DISABLE_JIT = True
    try:
        return importlib.import_module("rembg")
    finally:
        config.DISABLE_JIT = before


@contextmanager
def _u2net_home(folder: Path) -> Iterator[None]:
    """rembg takes a model's folder from its environment only."""
    before = os.environ.get("U2NET_HOME")
    os.environ["U2NET_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is not None:
            os.environ["U2NET_HOME"] = before
        else:
            os.environ.pop("U2NET_HOME", None)
