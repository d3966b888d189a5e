"""Accuracy against cost: a bubble chart for each kind of cost that was measured."""

from __future__ import annotations

import math
from typing import Any

from reports.charts import Axis, Bubble, bubble_chart
from reports.sections.complexity import PROFILE, profile_of, stage_costs
from reports.text import duration, percent
from reports.view import Board, Entry

TITLE = "Accuracy against cost"

_LONGEST_LABEL = 32


def build(board: Board) -> dict[str, Any] | None:
    scored = [
        (e, next((s for s in reversed(board.scores) if math.isfinite(e.value(s))), None))
        for e in board.methods
    ]
    last = board.scores[-1] if board.scores else None
    entries = [entry for entry, score in scored if score is not None and score == last]
    if not entries or last is None:
        return None
    seconds = {key: sum(cost["seconds"] for cost in costs) for key, costs in stage_costs(board).items()}
    profiles = profile_of(board)
    sizes = {key: values["parameters_m"] for key, values in profiles.items() if "parameters_m" in values}
    charts = []
    for name, title, axis, costs in (
        ("time", "Time of all stages", "wall time of all stages (s)", seconds),
        ("macs", "Multiply-accumulates", "G MACs an image", _column(profiles, "macs_g")),
        ("memory", "Memory", "peak memory (MB)", _column(profiles, "memory_mb")),
    ):
        bubbles = [
            _bubble(e, costs[e.key], e.value(last), sizes, name) for e in entries if costs.get(e.key, 0) > 0
        ]
        if bubbles:
            stage = f"{last.title} mIoU, {last.split} (%)"
            description = f"Bubble chart: {stage} against {axis}, one disc an entry; {_alternative(bubbles)}"
            charts.append(
                {
                    "name": name,
                    "title": title,
                    "svg": bubble_chart(bubbles, Axis(axis, log=True), Axis(stage), description),
                }
            )
    return {"charts": charts, "sized": bool(sizes), "profile": PROFILE} if charts else None


def _column(profiles: dict[tuple[str, ...], dict[str, float]], metric: str) -> dict[tuple[str, ...], float]:
    return {key: values[metric] for key, values in profiles.items() if metric in values}


def _bubble(
    entry: Entry, cost: float, accuracy: float, sizes: dict[tuple[str, ...], float], name: str
) -> Bubble:
    size = sizes.get(entry.key)
    area = size / max(sizes.values()) if size else 0.1
    said = duration(cost) if name == "time" else f"{cost:.3g} G MACs" if name == "macs" else f"{cost:,.0f} MB"
    note = f"{percent(accuracy)} mIoU, {said}" + (f", {size:.3g} M parameters" if size else "")
    label = entry.label if len(entry.label) <= _LONGEST_LABEL else entry.label[: _LONGEST_LABEL - 1] + "…"
    return Bubble(label, entry.series, cost, 100 * accuracy, area, note)


def _alternative(bubbles: list[Bubble]) -> str:
    return "; ".join(f"{bubble.label}: {bubble.note}" for bubble in bubbles)
