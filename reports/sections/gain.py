"""What each stage adds: mIoU from the CAM over the pseudo-labels to the segmentation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from reports.charts import Axis, Line, line_chart
from reports.text import deviation_text, percent, points
from reports.view import Board, LeaderboardEntry
from results.aggregate import KEYS, SCORES, as_rows, stage_title, summarise

TITLE = "Gain of each stage"

_STEPS = [score for score in SCORES if score.name in ("cam_fixed", "pseudo_label", "segmentation")]


def build(board: Board) -> dict[str, Any] | None:
    """The chart has the board's three stages, lines from one to the next on the same split; the table also what a
    method scores on the way to one."""
    means = _step_means(board.records)
    lines, rows = [], []
    for entry in board.methods:
        steps = _steps(entry, means.get(entry.key, {}))
        if len(steps) < 2:
            continue
        values = np.array([100 * entry.value(score) for score in _STEPS])
        shown = np.isfinite(values)
        note = " → ".join(f"{step['title']} {step['mean']}" for step in steps)
        for split in dict.fromkeys(score.split for score in _STEPS if shown.sum() > 1):
            at = np.flatnonzero(shown & [score.split == split for score in _STEPS])
            lines.append(Line(entry.label, entry.series, at.astype(float), values[at], note=note))
        rows.append({"label": entry.label, "series": entry.series, "steps": steps})
    if not rows:
        return None
    ticks = tuple((float(n), f"{s.title.removesuffix(' fixed')} ({s.split})") for n, s in enumerate(_STEPS))
    svg = None
    if lines:
        description = "Line chart: mIoU of every entry by stage; the table below has the numbers."
        svg = line_chart(lines, Axis(ticks=ticks), Axis("mIoU (%)", from_zero=True), description)
    return {"svg": svg, "rows": rows}


def _step_means(records: pd.DataFrame) -> dict[tuple[str, ...], dict[str, dict[str, float]]]:
    """By entry and stage name: mean, std, n and split of its mIoU, of CAMs at their fixed threshold."""
    chosen = records[(records["metric"] == "miou") & records["variant"].isin(("", "fixed"))]
    found: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for row in as_rows(summarise(chosen, [*KEYS, "stage", "split"])):
        found.setdefault(tuple(row[key] for key in KEYS), {})[row["stage"]] = row
    return found


def _steps(entry: LeaderboardEntry, means: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The entry's scored stages in the order of its graph, each with what it adds to the one before; nothing can be
    said to be added where the two are scored on different splits."""
    steps: list[dict[str, Any]] = []
    last: float = math.nan
    split = ""
    for name, item in means.items():  # as recorded, one stage after the other
        if not math.isfinite(item["mean"]):
            continue
        steps.append(
            {"title": stage_title(name), "mean": percent(item["mean"])}
            | {
                "std": deviation_text(item["std"], ""),
                "gain": points(item["mean"] - last) if item["split"] == split else "",
            }
        )
        last, split = float(item["mean"]), str(item["split"])
    return steps
