"""Listings of folders with many files. Light to import."""

from __future__ import annotations

import os
from pathlib import Path


def names_in(folder: Path) -> frozenset[str]:
    """Names of what a folder holds; none if there is no such folder."""
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()  # noqa: PTH208 - names only
