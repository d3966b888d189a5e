"""What of the papers' tables reproduces: every tested direction, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports import reproduction
from reports.view import Board
from results.aggregate import as_rows
from results.directions import VERDICTS, read_directions
from results.experiments import EXPERIMENTS_FOLDER

TITLE = "What reproduces"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    paths = dict.fromkeys(board.path for board in boards)
    found = [table for path in paths if not (table := read_directions(path / EXPERIMENTS_FOLDER)).empty]
    return data(pd.concat(found, ignore_index=True)) if found else None


def data(table: pd.DataFrame) -> dict[str, Any]:
    """What the template shows of `results.directions.read_directions`' table."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in as_rows(table):
        text = reproduction.cells(row) | {"column": row["column"]}
        groups.setdefault(reproduction.group_of(row), []).append(text)
    return {
        "caption": reproduction.CAPTION,
        "tally": reproduction.tally(table),
        "columns": reproduction.COLUMNS,
        "verdicts": VERDICTS,
        "experiments": groups,
    }
