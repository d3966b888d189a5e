"""How many cores there are to work with. Light to import."""

from __future__ import annotations

import os

_limit: int | None = None


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, where the system has one (Linux), else all.

    At most as many as `limit_cores` says.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return found if _limit is None else min(found, _limit)


def limit_cores(count: int) -> None:
    """This process uses `count` cores from now on: others work beside it."""
    global _limit
    _limit = count
