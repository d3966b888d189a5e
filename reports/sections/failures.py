"""Runs without a result, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.view import Board

TITLE = "Failed and not run"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """Seeds that share entry and reason share a row."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for board in boards:
        for entry in board.methods:
            for run in entry.runs:
                if run["status"] != "done":
                    row = {
                        "label": entry.label,
                        "seeds": [],
                        "status": run["status"],
                        "reason": run["reason"],
                    }
                    row |= {"dataset": board.name, "scale": board.scale, "protocol": board.protocol}
                    key = (*entry.key, run["status"], run["reason"])
                    rows.setdefault(key, row)["seeds"].append(run["seed"])
    return {"rows": list(rows.values())} if rows else None
