"""The board's segmentation scores in the chart of what the field reports, where the data set is one it reports on."""

from __future__ import annotations

import math
from typing import Any

from reports.field.page import PRETRAINING, Point, field_chart
from reports.field.terminal import HEADS
from reports.text import percent
from reports.view import Board, LeaderboardEntry
from results.aggregate import SCORES
from results.field import SCORES as REPORTED
from results.field import load_field

TITLE = "Beside what the field reports"

_SEGMENTATION = next(score for score in SCORES if score.name == "segmentation")
_BY_DATASET = {
    dataset: score
    for score, (dataset, split, stage) in REPORTED.items()
    if (split, stage) == (_SEGMENTATION.split, _SEGMENTATION.stage)
}


def build(board: Board) -> dict[str, Any] | None:
    """Only for the validation images of VOC 2012 and MS COCO 2014; an entry stands at the year of its paper."""
    score = _BY_DATASET.get(board.dataset)
    if score is None:
        return None
    methods = load_field()
    years = {method.name.casefold(): method.year for method in methods}
    own = [
        Point(
            entry.label,
            year,
            100 * value,
            f"{percent(value)} here, {board.scale} scale, {board.protocol} protocol",
        )
        for entry in board.methods
        if math.isfinite(value := entry.value(_SEGMENTATION)) and (year := _year(entry, years))
    ]
    drawn = field_chart(methods, score, own, (780, 560)) if own else None
    if drawn is None:
        return None
    svg, legend = drawn
    return {
        "svg": svg,
        "legend": legend,
        "head": HEADS[score],
        "pretraining": PRETRAINING,
        "scale": board.scale,
    }


def _year(entry: LeaderboardEntry, years: dict[str, int]) -> int:
    """That of its method's file, else that in which it was run; 0 where it has neither."""
    for run in entry.runs:
        reported_as = str(run["method_info"].get("reported_as", "")).casefold()
        finished = str(run["provenance"].get("finished") or "")[:4]
        return years.get(reported_as) or int(finished or 0)
    return 0
