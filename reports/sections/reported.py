"""The papers' numbers beside the measured ones."""

from __future__ import annotations

from typing import Any

from reports.view import Board
from results.aggregate import KEYS, SCORES, as_rows, reported_against_measured

TITLE = "Reported and measured"


def build(board: Board) -> dict[str, Any] | None:
    labels = {entry.key: entry.label for entry in board.entries}
    stages = {score.stage: score.title.split()[0] for score in SCORES}
    rows = [
        row | {"label": labels[tuple(row[k] for k in KEYS)], "stage": stages.get(row["stage"], row["stage"])}
        for row in as_rows(reported_against_measured(board.table, board.cells))
    ]
    return {"rows": rows} if rows else None
