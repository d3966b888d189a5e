"""Verdicts on images and single defects, where data have good parts: a table a score and kind."""

from __future__ import annotations

from typing import Any

from reports.inspection import (
    EXPLAINED,
    NO_VERDICTS,
    Cell,
    deviation_written,
    inspection_tables,
    written,
)
from reports.view import Board
from results.inspection import inspection_metrics

TITLE = "Good or not: verdicts and defects"

_TITLES = {"verdicts": "verdicts", "defects": "defects", "types": "by type", "confusion": "taken for"}


def build(board: Board) -> dict[str, Any] | None:
    entries = {entry.key: entry for entry in board.entries}
    tables: list[dict[str, Any]] = [
        {"name": f"{table.score.name}-{table.kind}", "heads": table.heads}
        | {"title": f"{table.score.title} ({table.score.split}): {_TITLES[table.kind]}"}
        | {"note": EXPLAINED[table.kind]}
        | {
            "rows": [
                {"label": " · ".join(filter(None, (entries[key].label, true)))}
                | {"reference": entries[key].is_reference, "cells": [_cell(cell) for cell in cells]}
                for key, true, cells in table.rows
            ]
        }
        for table in inspection_tables(inspection_metrics(board.records), list(entries))
    ]
    # what is asked first comes first: verdicts of the network that would run on the line
    tables.sort(key=lambda table: not table["name"].startswith("segmentation"))
    return {"tables": tables, "note": NO_VERDICTS} if tables else None


def _cell(cell: Cell) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {"text": written(cell), "std": deviation_written(cell), "n": cell["n"], "images": cell["images"]}
