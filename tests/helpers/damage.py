"""Ways in which a file may be damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def flip(path: Path) -> None:
    """One byte in the middle, with size and times as before."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
}
"""How a file may be damaged."""
