"""What the entries cost: operations, parameters, speed and memory as `profile` measured them, and stage by stage
what running them took."""

from __future__ import annotations

from typing import Any

from reports.tables import complexity_tables
from reports.view import Board
from results.aggregate import KEYS, as_rows, stage_title, summarise

TITLE = "Complexity"
_MEMORY = ("device_memory_mb", "host_memory_mb")


def build(board: Board) -> dict[str, Any] | None:
    tables, times = complexity_tables(board.profiles, board.table), _times(board)
    return {"tables": tables, "times": times} if tables or times else None


def stage_costs(board: Board) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """By entry its stages and their scoring in order: name, mean seconds over seeds, and peak memory in MB where it
    was recorded, of host and device the larger."""
    records = board.records
    seconds = summarise(records[records["metric"] == "seconds"], [*KEYS, "stage"])
    memory = records[records["metric"].isin(_MEMORY)]
    peaks = memory.groupby([*KEYS, "stage"])["value"].max().to_dict()
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in as_rows(seconds):
        key = tuple(row[column] for column in KEYS)
        cost = {"name": row["stage"], "seconds": row["mean"], "memory": peaks.get((*key, row["stage"]))}
        found.setdefault(key, []).append(cost)
    return found


def _times(board: Board) -> list[dict[str, Any]]:
    """Each entry's stages, with their share of the longest entry's total."""
    costs = stage_costs(board)
    rows = []
    for entry in board.methods:
        if stages := costs.get(entry.key):
            memory = [stage["memory"] for stage in stages if stage["memory"] is not None]
            total = sum(stage["seconds"] for stage in stages)
            rows.append(
                {"label": entry.label, "stages": stages, "total": total, "memory": max(memory, default=None)}
            )
    longest = max((row["total"] for row in rows), default=0.0) or 1.0
    for row in rows:
        row["stages"] = [
            stage | {"name": stage_title(stage["name"]), "width": 100 * stage["seconds"] / longest}
            for stage in row["stages"]
        ]
    return rows
