"""What is said of a failure."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.store import disk_is_full
from datasets.base import DataError
from methods.base import MethodError

_COLOUR_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class ConfigError(Exception):
    """A setting is wrong; the message is one line."""


def one_line(error: BaseException, store: Path) -> str:
    """A failure as one line: what, where, what to do; without the codes by which terminals colour."""
    return _COLOUR_CODES.sub("", _said(error, store))


def _said(error: BaseException, store: Path) -> str:
    if disk_is_full(error):
        return f"the disk with {store} is full; free some space and run the same command again: it resumes"
    if isinstance(error, (DataError, MethodError)):
        return str(error)
    if isinstance(error, (MemoryError,)) or "out of memory" in str(error).lower():
        return f"out of memory: {str(error).splitlines()[0] if str(error) else ''}; lower the batch size"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" ({Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno})" if where else ""
    message = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {message}{place}"
