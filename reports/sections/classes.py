"""IoU of every class: a heat map a score, classes down, entries across."""

from __future__ import annotations

import math
from typing import Any

from reports.text import deviation_text
from reports.view import Board
from results.aggregate import as_rows, per_class_iou

TITLE = "IoU of every class"


def build(board: Board) -> dict[str, Any] | None:
    per_class = per_class_iou(board.records)
    tables = []
    for score in board.scores:
        chosen = per_class[per_class["score"] == score.name]
        if chosen.empty:
            continue
        found = {
            key: {row["class_name"]: row for row in as_rows(rows)}
            for key, rows in board.of_each(chosen).items()
        }
        entries = [entry for entry in board.entries if entry.key in found]
        if all(entry.is_reference for entry in entries):
            continue
        rows = [{"name": "mean", "cells": [_cell(e.value(score), math.nan, 0, "") for e in entries]}]
        for name in dict.fromkeys(chosen["class_name"]):
            items = [found[entry.key].get(name) for entry in entries]
            cells = [_cell(i["mean"], i["std"], i["n"], score.name) if i else None for i in items]
            rows.append({"name": name, "cells": cells})
        heads = [{"label": entry.label, "reference": entry.is_reference} for entry in entries]
        tables.append({"score": score, "heads": heads, "rows": rows})
    return {"tables": tables} if tables else None


def _cell(mean: float, std: float, n: int, name: str) -> dict[str, Any] | None:
    return {"mean": mean, "std": deviation_text(std, name), "n": n} if math.isfinite(mean) else None
