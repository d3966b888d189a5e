"""The papers' numbers beside the measured ones: the difference, or why there is none."""

from __future__ import annotations

from typing import Any

from reports.text import deviation_text, percent, points
from reports.view import Board
from results.aggregate import SCORES, as_rows
from results.comparison import compare_with_papers

TITLE = "Reported and measured"


def build(board: Board) -> dict[str, Any] | None:
    """Rows by entry, those that can be compared first; measured scores that no paper prints are left out."""
    table = compare_with_papers(board.records, board.runs)
    found = board.of_each(table[table["reported"].notna()])
    titles = {score.stage: score.title.split()[0] for score in SCORES}
    groups: list[dict[str, Any]] = []
    for entry in board.methods:
        if entry.key not in found:
            continue
        rows = sorted(as_rows(found[entry.key]), key=lambda row: not row["comparable"])
        groups.append({"label": entry.label, "rows": [_row(row, titles) for row in rows]})
    compared = sum(bool(row["difference"]) for group in groups for row in group["rows"])
    total = sum(len(group["rows"]) for group in groups)
    return {"groups": groups, "compared": compared, "total": total} if groups else None


def _row(row: dict[str, Any], titles: dict[str, str]) -> dict[str, Any]:
    return {
        "stage": titles.get(row["stage"], row["stage"].replace("_", " ")),
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
