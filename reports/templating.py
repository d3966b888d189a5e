"""The templates' environment: every value is escaped, a missing one is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports.text import duration, percent, points

COLOURS, DASHES = 8, 3
"""Colours and dash patterns of the style sheet; 24 series differ in one of them, neighbours in both."""


def colour(series: int) -> int:
    """Number of the style sheet's `--series-<n>` for a series."""
    return series % COLOURS


def dash(series: int) -> int:
    """Number of the style sheet's `dash-<n>` for a series."""
    return series % DASHES


@cache
def environment() -> Environment:
    """For HTML and SVG; filters `percent`, `points`, `duration`, `colour` and `dash` (of a series)."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, points=points, duration=duration, colour=colour, dash=dash)
    return made
