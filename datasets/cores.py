"""How many cores there are to work with. Light to import."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, where the system has one (Linux), else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
