"""Accuracy against cost: a bubble chart for each kind of cost that was measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reports.charts import Axis, Bubble, bubble_chart
from reports.sections.complexity import profile_of, stage_costs
from reports.text import duration, percent
from reports.view import Board

TITLE = "Accuracy against cost"

_LONGEST_LABEL = 32


@dataclass(frozen=True)
class Kind:
    """A kind of cost: its tab's title, the axis, the legend's heading, and how its values are written."""

    name: str
    title: str
    axis: str
    head: str
    text: Callable[[float], str]


KINDS = (
    Kind("time", "Time of all stages", "wall time of all stages and their scoring (s)", "time", duration),
    Kind("macs", "Multiply-accumulates", "G MACs an image, costliest pass", "G MACs", "{:.3g}".format),
    Kind("memory", "Memory", "peak memory of a pass (MB)", "MB", "{:,.0f}".format),
)


def build(board: Board) -> dict[str, Any] | None:
    """Entries that were scored at the last stage that any was scored at."""
    last = board.scores[-1] if board.scores else None
    entries = [entry for entry in board.methods if last is not None and math.isfinite(entry.value(last))]
    if last is None or not entries:
        return None
    seconds = {key: sum(cost["seconds"] for cost in costs) for key, costs in stage_costs(board).items()}
    profiles = profile_of(board)
    sizes = {key: values["parameters_m"] for key, values in profiles.items() if "parameters_m" in values}
    charts = []
    for kind, costs in zip(KINDS, (seconds, _column(profiles, "macs_g"), _memory(profiles))):
        shown = [entry for entry in entries if costs.get(entry.key, 0) > 0]
        if not shown:
            continue
        bubbles, legend = [], []
        for entry in shown:
            values = [percent(entry.value(last)), kind.text(costs[entry.key])]
            if sizes:
                values.append(f"{sizes[entry.key]:.3g}" if entry.key in sizes else "–")
            area = sizes[entry.key] / max(sizes.values()) if entry.key in sizes else 0.1
            note = f"{values[0]} mIoU, {values[1]}" + (f", {values[2]} M parameters" if sizes else "")
            bubbles.append(
                Bubble(
                    _short(entry.label), entry.series, costs[entry.key], 100 * entry.value(last), area, note
                )
            )
            legend.append({"label": entry.label, "series": entry.series, "values": values})
        stage = f"{last.title} mIoU, {last.split} (%)"
        said = "; ".join(f"{bubble.label}: {bubble.note}" for bubble in bubbles)
        svg = bubble_chart(
            bubbles,
            Axis(kind.axis, log=True),
            Axis(stage),
            f"Bubble chart: {stage} against {kind.axis}; {said}",
        )
        heads = ["mIoU", kind.head, *(["M params"] if sizes else [])]
        charts.append({"name": kind.name, "title": kind.title, "svg": svg, "legend": legend, "heads": heads})
    return {"charts": charts, "sized": bool(sizes)} if charts else None


def _column(profiles: dict[tuple[str, ...], dict[str, float]], metric: str) -> dict[tuple[str, ...], float]:
    return {key: values[metric] for key, values in profiles.items() if metric in values}


def _memory(profiles: dict[tuple[str, ...], dict[str, float]]) -> dict[tuple[str, ...], float]:
    """Of the device where there is one, else of the host."""
    found = (_column(profiles, metric) for metric in ("host_memory_mb", "device_memory_mb"))
    return {key: value for values in found for key, value in values.items()}


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
