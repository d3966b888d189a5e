"""Accuracy against cost: a bubble chart for each kind of cost that is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reports.charts import Axis, Bubble, bubble_chart
from reports.cost_table import of_board
from reports.tables import quantity
from reports.text import duration, entry_key, percent
from reports.view import Board
from results.aggregate import SCORES, Score
from results.costs import NETWORKS

TITLE = "Accuracy against cost"

_LONGEST_LABEL = 32
_CAM = next(score for score in SCORES if score.name == "cam_fixed")


@dataclass(frozen=True)
class Kind:
    """A kind of cost: its tab's title, the axis, the legend's heading, and how its values are written.

    columns: of `results.costs`; the first that is known counts
    score:   against which it stands; None: the last that any entry was scored at
    """

    name: str
    title: str
    axis: str
    head: str
    columns: tuple[str, ...]
    text: Callable[[float], str]
    score: Score | None = None


def _minutes(value: float) -> str:
    return duration(60 * value)


_WHOLE = "all stages of one seed and their scoring (min)"
KINDS = (
    Kind(
        "training",
        "Training time",
        "trainings of one seed (min)",
        "training",
        ("training_minutes",),
        _minutes,
    ),
    Kind("time", "Time of all stages", _WHOLE, "time", ("minutes",), _minutes),
    Kind(
        "macs", "CAM against MACs", "CAM network's G MACs an image", "G MACs", ("cam_macs_g",), quantity, _CAM
    ),
    Kind(
        "memory",
        "Memory",
        "peak memory of all stages (MB)",
        "MB",
        ("device_memory_mb", "host_memory_mb"),
        "{:,.0f}".format,
    ),
)


def build(board: Board) -> dict[str, Any] | None:
    """Entries that have both the score and the cost."""
    last = board.scores[-1] if board.scores else None
    costs = {entry_key(row): cost for row, cost in of_board(board.costs, board.table)}
    parameters = {key: _parameters(cost) for key, cost in costs.items()}
    sizes = {key: value for key, value in parameters.items() if math.isfinite(value)}
    charts = []
    for kind in KINDS:
        score = kind.score or last
        values = {key: _first(cost, kind.columns) for key, cost in costs.items()}
        shown = [
            entry
            for entry in board.methods
            if score and math.isfinite(entry.value(score)) and values.get(entry.key, 0) > 0
        ]
        if score is None or not shown:
            continue
        bubbles, legend = [], []
        for entry in shown:
            texts = [percent(entry.value(score)), kind.text(values[entry.key])]
            if sizes:
                texts.append(quantity(parameters[entry.key]))
            area = sizes[entry.key] / max(sizes.values()) if entry.key in sizes else 0.1
            note = f"{texts[0]} mIoU, {texts[1]}" + (f", {texts[2]} M parameters" if sizes else "")
            place = (values[entry.key], 100 * entry.value(score))
            bubbles.append(Bubble(_short(entry.label), entry.series, *place, area, note))
            legend.append({"label": entry.label, "series": entry.series, "values": texts})
        stage = f"{score.title} mIoU, {score.split} (%)"
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


def _parameters(cost: dict[str, Any]) -> float:
    """Of the larger of CAM and segmentation network, 10^6; NaN where neither is counted."""
    counted = [cost[f"{network}_parameters_m"] for network in NETWORKS]
    return max(filter(math.isfinite, counted), default=math.nan)


def _first(cost: dict[str, Any], columns: tuple[str, ...]) -> float:
    return next((cost[column] for column in columns if math.isfinite(cost[column])), math.nan)


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
