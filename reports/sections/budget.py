"""What `budget` has found: intervals by number of masks, and how many tell the best two apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.charts import Axis, Line, line_chart
from reports.text import percent
from reports.view import Board
from results.budget import read_budget, state_of

TITLE = "How many masks"
_KINDS = {"cam": "CAMs", "pseudo_label": "pseudo-labels", "prediction": "segmentation"}
_WAYS = {
    "plain": "random images",
    "evidence": "random images, with the evidence of all",
    "ordered": "images of label-next.csv in order, with it",
}


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """None where `budget` was not run on the folder."""
    found = read_budget(boards[0].path) if boards else None
    if found is None:
        return None
    masks = np.array([row["masks"] for row in found["widths"]], float)
    lines, legend = [], []
    for series, (way, label) in enumerate(_WAYS.items()):
        widths = np.array([row.get(way, np.nan) for row in found["widths"]], float)
        if np.isfinite(widths).any():
            lines.append(Line(label, series, masks, 100 * widths))
            legend.append({"label": label, "series": series, "values": _covered(found["widths"], way)})
    chart = line_chart(
        lines,
        Axis("images with masks", log=True),
        Axis("width of the interval (points)", from_zero=True),
        "Line chart: mean width of the entries' intervals by number of masks; the legend has the ways to get it.",
    )
    return {
        "kind": _KINDS.get(found["kind"], found["kind"]),
        "split": found["split"],
        "images": found["images"],
        "masks": found["masks"],
        "simulated": found["simulated"],
        "level": f"{100 * found['level']:.0f} %",
        "svg": chart,
        "legend": legend,
        "heads": ["covers"] if found["simulated"] else [],
        "rows": [_row(row) for row in found["entries"]],
        "advice": found["advice"],
        "warnings": found["warnings"],
        "stale": found["state"] != state_of([run for board in boards for run in board.runs], found["kind"]),
    }


def _covered(rows: Sequence[dict[str, Any]], way: str) -> list[str]:
    """Share of simulated intervals that cover, least and most over the numbers of masks; nothing of estimates."""
    shares = [100 * row[f"coverage_{way}"] for row in rows if row.get(f"coverage_{way}") is not None]
    return [f"{min(shares):.0f} to {max(shares):.0f} %"] if shares else []


def _row(row: dict[str, Any]) -> dict[str, str]:
    def interval(low: str, high: str) -> str:
        return "" if row[low] is None else f"{percent(row[low])} to {percent(row[high])}"

    return {
        "entry": row["entry"],
        "value": percent(row["value"]),
        "interval": interval("low", "high"),
        "plain": percent(row["plain"]),
        "plain_interval": interval("plain_low", "plain_high"),
        "factor": f"{row['factor']:.2f}",
    }
