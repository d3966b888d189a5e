"""Ablations that were run into the folder: every row beside the paper's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from reports.view import Board
from results.aggregate import as_rows
from results.experiments import read_experiments

TITLE = "Ablations"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    found = [
        experiment for path in dict.fromkeys(b.path for b in boards) for experiment in read_experiments(path)
    ]
    tables = []
    for experiment in found:
        columns = list(dict.fromkeys(experiment.table["column"]))
        rows: dict[str, dict[str, Any]] = {}
        for item in as_rows(experiment.table):
            rows.setdefault(str(item["row"]), {})[item["column"]] = {
                "paper": _percent(item["paper"]),
                "here": _percent(item["mean"]),
                "std": _percent(item["deviation"]) if math.isfinite(item["deviation"]) else "",
            }
        tables.append(
            {"title": experiment.title, "conditions": experiment.conditions, "columns": columns, "rows": rows}
        )
    return {"tables": tables} if tables else None


def _percent(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
