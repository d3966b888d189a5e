"""What is said of a failure."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from pathlib import Path

from benchmark.store import disk_is_full, has_errno
from datasets.base import DataError
from methods.base import Method, MethodError
from methods.failures import raised_at

_COLOUR_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
"""What CUDA, torch's allocator on the CPU and cuBLAS say, in lower case."""


_REMEDIES = {
    errno.EEXIST: ", and a folder belongs there; move it away",
    errno.ENOTDIR: ", but something in its path is a file; move that away",
    errno.EISDIR: ", and a file belongs there; move it away",
    errno.ELOOP: "; remove the loop of links",
}
"""What to do about some of the system's errors."""


class ConfigError(Exception):
    """A setting is wrong; the message is one line."""


def one_line(error: BaseException, store: Path, packages: Sequence[str] = ()) -> str:
    """A failure as one line: what, where, what to do; without the codes by which terminals colour.

    packages: whose line is named, see `raised_at`
    """
    return _COLOUR_CODES.sub("", _said(error, store, packages))


def _said(error: BaseException, store: Path, packages: Sequence[str]) -> str:
    if disk_is_full(error):
        return f"the disk with {store} is full; free some space and run the same command again: it resumes"
    if isinstance(error, (DataError, MethodError)):
        return str(error)
    if out_of_memory(error):
        return f"out of memory: {str(error).splitlines()[0] if str(error) else ''}; lower the batch size"
    if isinstance(error, OSError) and error.filename is not None:
        remedy = _REMEDIES.get(error.errno or 0, "")
        return f"{error.filename2 or error.filename}: {error.strerror}{remedy}"
    if has_errno(error, errno.EFBIG):
        return f"{store}: a file there would grow beyond what `ulimit -f` allows; raise it and run the same command again"
    place = raised_at(error, packages)
    message = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {message}" + (f" ({place})" if place else "")


def out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory, or the machine's, did not suffice."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(said in text for said in OUT_OF_MEMORY)


def packages_of(method: Method, run: str = "") -> list[str]:
    """Where a method's author wrote, for `one_line`: the method's folder or package, then that of a stage's `run`."""
    return [package_of(name) for name in (type(method).__module__, run) if name]


def package_of(reference: str) -> str:
    """The package of "package.module" or "package.module:function"; of a method in `methods/`, its folder's."""
    module = reference.split(":")[0]
    return ".".join(module.split(".")[: 2 if module.startswith("methods.") else 1])


def printable(text: str, longest: int = 400) -> str:
    """A stranger's text on one line, whose control characters do nothing to a terminal: they are shown as escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:longest])
    return shown + ("…" if len(text) > longest else "")
