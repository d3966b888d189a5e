"""A deviation from a paper, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """A place where paper, reference code and this project differ."""

    topic: str
    paper: str
    code: str
    ours: str
    why: str
