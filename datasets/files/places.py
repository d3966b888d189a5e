"""Paths as users give them, followed without the errors that pathlib raises for loops of links and unknown users."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(place: str | Path) -> Path:
    """With `~` and `~user` as shells have them; as it is where there is no such user."""
    return Path(os.path.expanduser(place))  # noqa: PTH111 - pathlib raises RuntimeError


def resolved(place: str | Path) -> Path:
    """Absolute, with links followed; a loop of links ends the following."""
    return Path(os.path.realpath(place))
