"""Settings and provenance of every run, with its stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reports.view import Board, LeaderboardEntry

TITLE = "Settings and provenance"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """Settings of an entry stand once, with its first seed; later seeds with the same settings refer to it."""
    groups = []
    for board in boards:
        entries = [_entry(entry) for entry in board.methods if entry.runs]
        if entries:
            title = f"{board.name}, {board.scale}, {board.protocol} protocol"
            groups.append({"title": title if len(boards) > 1 else "", "entries": entries})
    return {"groups": groups} if groups else None


def _entry(entry: LeaderboardEntry) -> dict[str, Any]:
    runs: list[dict[str, Any]] = []
    for run in entry.runs:
        repeated = bool(runs) and run["settings"] == entry.runs[0]["settings"]
        settings = "" if repeated else _pretty(run["settings"])
        shown = {key: run[key] for key in ("seed", "status", "reason", "stages")}
        runs.append(shown | {"settings": settings, "provenance": _pretty(run["provenance"])})
    return {"label": entry.label, "runs": runs}


def _pretty(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str)
