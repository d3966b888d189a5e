"""The page's sections, one module each: `TITLE`, `build` (data for its template, None where there is nothing).

`sections/<name>.py` makes the data, `templates/sections/<name>.html` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reports.sections import (
    ablations,
    budget,
    certificate,
    classes,
    complexity,
    confusion,
    cost,
    examples,
    failures,
    field,
    further,
    gain,
    inspection,
    leaderboard,
    methods,
    provenance,
    reported,
    reproduction,
    selection,
    thresholds,
    training,
)
from reports.view import Board

_OF_A_BOARD = (
    leaderboard,
    inspection,
    gain,
    cost,
    classes,
    thresholds,
    confusion,
    further,
    examples,
    reported,
    field,
    complexity,
    training,
)
_OF_THE_PAGE = (selection, budget, reproduction, ablations, methods, failures, certificate, provenance)


@dataclass(frozen=True)
class Section:
    """A section with its data; `id` is its anchor's, `name` its template's."""

    id: str
    name: str
    title: str
    data: Any


def board_sections(board: Board) -> list[Section]:
    """Those of one leaderboard that have something to show, in the page's order."""
    return _built(_OF_A_BOARD, lambda module: module.build(board), f"{board.id}-")


def page_sections(boards: Sequence[Board]) -> list[Section]:
    """Those of all leaderboards together."""
    return _built(_OF_THE_PAGE, lambda module: module.build(boards), "")


def _built(modules: Sequence[Any], build: Callable[[Any], Any], prefix: str) -> list[Section]:
    sections = []
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        if (data := build(module)) is not None:
            sections.append(Section(prefix + name, name, module.TITLE, data))
    return sections
