"""Loss curves of every training, by entry and stage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reports.charts import Axis, Line, line_chart
from reports.view import Board, LeaderboardEntry
from results.aggregate import stage_title

TITLE = "Training curves"

_SIZE = (340, 220)
_LOG_FROM = 30.0
"""Ratio of the largest to the smallest loss from which the axis is logarithmic."""


def build(board: Board) -> dict[str, Any] | None:
    entries = [
        {"label": entry.label, "charts": charts} for entry in board.methods if (charts := _charts(entry))
    ]
    return {"entries": entries} if entries else None


def _charts(entry: LeaderboardEntry) -> list[dict[str, Any]]:
    histories: dict[str, list[list[dict[str, float]]]] = {}
    for run in entry.runs:
        for stage in run["stages"]:
            for number, history in enumerate(stage.get("losses") or (), 1):
                title = stage_title(stage["name"])
                name = title if len(stage["losses"]) == 1 else f"{title} ({number})"
                histories.setdefault(name, []).append(history)
    return [_chart(entry, name, seeds) for name, seeds in histories.items() if any(seeds)]


def _chart(entry: LeaderboardEntry, name: str, seeds: list[list[dict[str, float]]]) -> dict[str, Any]:
    terms = dict.fromkeys(
        term for history in seeds for point in history for term in point if term != "iteration"
    )
    lines = [_line(term, series, seeds) for series, term in enumerate(terms)]
    values = np.concatenate([line.y for line in lines])
    smallest, largest = values.min(initial=math.inf), values.max(initial=-math.inf)
    log = bool(smallest > 0 and largest / smallest > _LOG_FROM)
    description = f"Line chart: losses of stage {name} of {entry.label} by iteration: " + ", ".join(
        f"{line.label} {line.note}" for line in lines
    )
    svg = line_chart(
        lines, Axis("iteration", from_zero=True), Axis("loss", log=log, from_zero=not log), description, _SIZE
    )
    legend = [{"label": line.label, "series": line.series} for line in lines]
    return {"stage": name, "svg": svg, "legend": legend, "seeds": len(seeds)}


def _line(term: str, series: int, seeds: list[list[dict[str, float]]]) -> Line:
    """Mean of a loss term over the seeds at each iteration, their range as its band."""
    at: dict[float, list[float]] = {}
    for history in seeds:
        for point in history:
            if term in point:
                at.setdefault(point["iteration"], []).append(point[term])
    x = np.array(sorted(at), dtype=float)
    mean, low, high = (np.array([of(at[i]) for i in x.tolist()]) for of in (np.mean, np.min, np.max))
    several = len(seeds) > 1
    note = f"{mean[0]:.3g} → {mean[-1]:.3g}"
    return Line(term, series, x, mean, low if several else x[:0], high if several else x[:0], note=note)
