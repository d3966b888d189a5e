"""The leaderboard: every entry's scores as mean, deviation and n, its place in each column, what rows are filtered by;
and a second table of what the entries cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reports.cost_table import Column as CostColumn
from reports.cost_table import cost_notes, figure, of_board, shown_columns
from reports.text import (
    deviation_text,
    entry_key,
    footnotes,
    score_text,
    seeds_label,
    spread_statement,
    untested_statement,
)
from reports.view import Board, LeaderboardEntry
from results.aggregate import CONFUSION, confusion_pairs

TITLE = "Leaderboard"

STAGES = {"cam": "CAM", "pseudo_label": "Pseudo-label", "segmentation": "Segmentation"}


@dataclass(frozen=True)
class Column:
    """A score's column, or a pair's confusion with context; `name` as in the leaderboard's `<name>_mean`."""

    name: str
    title: str
    stage: str
    split: str = ""
    pair: bool = False


def build(board: Board) -> dict[str, Any]:
    columns = [Column(s.name, s.heading.removeprefix("CAM "), s.stage, s.split) for s in board.scores]
    columns += [
        Column(CONFUSION + pair, " / ".join(pair.split("|")), "cam", pair=True)
        for pair in confusion_pairs(board.table)
    ]
    ranks = {c.name: [board.places.get(c.name, {}).get(e.key) for e in board.entries] for c in columns}
    main = next(
        (s.name for s in reversed(board.scores) if not s.masks), board.scores[-1].name if board.scores else ""
    )
    rows = [
        _row(board, entry, columns, {name: of_column[index] for name, of_column in ranks.items()}, main)
        for index, entry in enumerate(board.entries)
    ]
    for row, before in zip(rows[1:], rows):
        row["first_of_kind"] = row["kind"] != before["kind"]
    present = {column.stage for column in columns}
    return {
        "columns": columns,
        "main": main,
        "tested": bool(board.places),
        "spread": spread_statement(board.table),
        "untested": untested_statement(board.table),
        "gaps": bool(board.table["segmentation_gap"].notna().any()),
        "rows": rows,
        "notes": footnotes(board.table),
        "costs": _costs(board),
        "supervisions": _distinct(row["supervision"] for row in rows),
        "backbones": _distinct(row["backbone"] for row in rows),
        "stages": {stage: title for stage, title in STAGES.items() if stage in present},
    }


def _costs(board: Board) -> dict[str, Any] | None:
    """The table of costs: its columns, their groups with the number of columns, rows and notes."""
    found = {entry_key(row): cost for row, cost in of_board(board.costs, board.table)}
    columns = shown_columns(list(found.values()))
    if not columns:
        return None
    rows = [
        {"title": entry.row["title"], "parts": _parts(board, entry)}
        | {"supervision": entry.row["supervision"], "backbone": backbone(entry)}
        | {"cells": [_cost(found[entry.key], column) for column in columns]}
        for entry in board.methods
        if entry.key in found
    ]
    groups = dict.fromkeys((c.group, sum(d.group == c.group for d in columns)) for c in columns)
    notes = cost_notes(board.costs, board.table)
    return {"columns": columns, "groups": list(groups), "rows": rows, "notes": notes}


def _cost(costs: dict[str, Any], column: CostColumn) -> dict[str, Any]:
    value = costs[column.name]
    return {"value": value if math.isfinite(value) else None, "text": figure(costs, column)}


def _parts(board: Board, entry: LeaderboardEntry) -> list[str]:
    """What tells the entry from others of its method."""
    return [] if entry.is_reference else [entry.row[c] for c in board.extra if entry.row[c]]


def backbone(entry: LeaderboardEntry) -> str:
    """Name of the network that the entry's method starts from: the first part with a name and weights in its
    settings, else its segmentation network's; empty where there is none."""
    settings = entry.runs[0]["settings"].get("method", {}) if entry.runs else {}
    parts = [*settings.values(), (settings.get("segmenter") or {}).get("backbone")]
    named = (p["name"] for p in parts if isinstance(p, dict) and "name" in p and "weights" in p)
    return str(next(named, ""))


def _row(
    board: Board,
    entry: LeaderboardEntry,
    columns: list[Column],
    ranks: dict[str, int | None],
    main: str,
) -> dict[str, Any]:
    row = entry.row
    cells = []
    for column in columns:
        name = column.name
        mean, n = float(row[f"{name}_mean"]), int(row[f"{name}_n"])
        text = score_text(mean, name)
        cells.append(
            {"value": mean if math.isfinite(mean) else None, "text": text, "rank": ranks[name]}
            | {"std": deviation_text(row[f"{name}_std"], name), "n": n if 0 < n != row["seeds"] else 0}
            | {"best": ranks[name] == 1}
        )
    gap = float(row["segmentation_gap"])
    return {
        "kind": "reference" if entry.is_reference else "bound" if row["mask_supervised"] else "method",
        "first_of_kind": False,
        "title": row["title"],
        "parts": _parts(board, entry),
        "supervision": row["supervision"],
        "backbone": "" if entry.is_reference else backbone(entry),
        "status": row["status"],
        "reason": row["reason"],
        "seeds": seeds_label(row),
        "rank": ranks.get(main),
        "scored": any(cell["value"] is not None for cell in cells),
        "cells": cells,
        "gap": gap if math.isfinite(gap) else None,
    }


def _distinct(values: Iterable[str]) -> list[str]:
    return sorted({value for value in values if value})
