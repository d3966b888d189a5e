"""Settings and provenance of every cell, with its stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reports.view import Board, Entry

TITLE = "Settings and provenance"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """Settings of an entry stand once, with its first seed; later seeds with the same settings refer to it."""
    groups = []
    for board in boards:
        entries = [_entry(entry) for entry in board.methods if entry.cells]
        if entries:
            title = f"{board.name}, {board.scale}, {board.protocol} protocol"
            groups.append({"title": title if len(boards) > 1 else "", "entries": entries})
    return {"groups": groups} if groups else None


def _entry(entry: Entry) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    for cell in entry.cells:
        repeated = bool(cells) and cell["settings"] == entry.cells[0]["settings"]
        settings = "" if repeated else _pretty(cell["settings"])
        shown = {key: cell[key] for key in ("seed", "status", "reason", "stages")}
        cells.append(shown | {"settings": settings, "provenance": _pretty(cell["provenance"])})
    return {"label": entry.label, "cells": cells}


def _pretty(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str)
