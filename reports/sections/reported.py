"""The papers' numbers beside the measured ones: the difference, or why there is none."""

from __future__ import annotations

from typing import Any

from reports.text import deviation_text, percent, points
from reports.view import Board
from results.aggregate import as_rows, stage_title
from results.comparison import compare_with_papers

TITLE = "Reported and measured"


def build(board: Board) -> dict[str, Any] | None:
    """Rows by entry, those that can be compared and the others; measured scores that no paper prints are left out."""
    table = compare_with_papers(board.records, board.runs)
    found = board.of_each(table[table["reported"].notna()])
    tables: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for entry in board.methods:
        if entry.key in found:
            for comparable, groups in tables.items():
                rows = [
                    _row(row) for row in as_rows(found[entry.key]) if bool(row["comparable"]) is comparable
                ]
                groups += [{"label": entry.label, "rows": rows}] if rows else []
    compared, others = (sum(len(group["rows"]) for group in groups) for groups in tables.values())
    if not compared + others:
        return None
    return {"groups": tables[True], "others": tables[False], "compared": compared, "total": compared + others}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": stage_title(row["stage"]),
        "split": row["split"],
        "reported": percent(row["reported"]),
        "measured": percent(row["measured"]),
        "std": deviation_text(row["std"], ""),
        "n": row["n"],
        "difference": points(row["difference"]) if row["comparable"] else "",
        "reason": row["reason"],
        "where": row["where"],
        "note": row["note"],
    }
