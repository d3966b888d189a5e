"""Confusion with co-occurring context: how much of it is taken for the object, at every stage."""

from __future__ import annotations

import math
from typing import Any

from reports.text import deviation_text, score_text
from reports.view import Board
from results.aggregate import CONFUSION, KEYS, SCORES, as_rows, summarise

TITLE = "Confusion with context"

_STAGES = [score for score in SCORES if score.name in ("cam_fixed", "pseudo_label", "segmentation")]


def build(board: Board) -> dict[str, Any] | None:
    """One table a pair of object and context: entries down, stages across."""
    records = board.records
    chosen = records[(records["metric"] == "confusion_ratio") & records["variant"].isin(("", "fixed"))]
    chosen = chosen[chosen["value"].notna()]
    summary = summarise(chosen, [*KEYS, "class_name", "stage"])
    values = {(*(row[key] for key in KEYS), row["class_name"], row["stage"]): row for row in as_rows(summary)}
    tables = []
    for pair in dict.fromkeys(chosen["class_name"]):
        stages = [s for s in _STAGES if any(key[-2:] == (pair, s.stage) for key in values)]
        rows = []
        for entry in board.entries:
            cells = [_cell(values.get((*entry.key, pair, stage.stage))) for stage in stages]
            if any(cells):
                rows.append({"label": entry.label, "reference": entry.is_reference, "cells": cells})
        if rows:
            item, _, context = pair.partition("|")
            tables.append({"object": item, "context": context, "stages": stages, "rows": rows})
    return {"tables": tables} if tables else None


def _cell(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """Ratio r = FP / TP as text; share: r / (1 + r), the context's part of what was called the object and is one
    of the two."""
    if row is None or not math.isfinite(row["mean"]):
        return None
    ratio = float(row["mean"])
    std = deviation_text(row["std"], CONFUSION)
    return {"text": score_text(ratio, CONFUSION), "std": std, "share": 100 * ratio / (1 + ratio)}
