"""Listings of folders with many files. Light to import."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def names_in(folder: Path) -> frozenset[str]:
    """Names of what a folder holds; none if there is no such folder."""
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()  # noqa: PTH208 - names only


def first_names(names: Sequence[str], shown: int = 3) -> str:
    """``a, b, c and 7 more``"""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
