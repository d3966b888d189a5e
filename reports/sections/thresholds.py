"""CAM mIoU against the background threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.charts import Axis, Line, line_chart
from reports.text import percent
from reports.view import Board
from results.aggregate import fixed_thresholds, threshold_curves

TITLE = "CAM threshold"


def build(board: Board) -> dict[str, Any] | None:
    curves = board.of_each(threshold_curves(board.records))
    fixed = {
        key: rows["threshold"].iloc[0] for key, rows in board.of_each(fixed_thresholds(board.records)).items()
    }
    lines, legend, banded = [], [], False
    for entry in board.entries:
        if entry.key not in curves:
            continue
        x, y, std = (curves[entry.key][column].to_numpy(float) for column in ("threshold", "mean", "std"))
        if np.isnan(y).all():  # of masks without a class
            continue
        top, mark = int(np.nanargmax(y)), fixed.get(entry.key)
        line = Line(
            entry.label,
            entry.series,
            x,
            100 * y,
            100 * (y - std),
            100 * (y + std),
            None if mark is None else (mark, float(np.interp(mark, x, 100 * y))),
            f"best {percent(y[top])} at {x[top]:.2f}",
        )
        lines.append(line)
        banded = banded or bool(np.isfinite(std).any())
        legend.append({"label": entry.label, "series": entry.series, "values": [percent(y[top]), f"{x[top]:.2f}",
                       "–" if mark is None else f"{mark:.2f}"]})  # fmt: skip
    if not lines:
        return None
    description = (
        "Line chart: CAM mIoU against the background threshold; the legend lists every entry's best."
    )
    chart = line_chart(lines, Axis("background threshold"), Axis("CAM mIoU (%)", from_zero=True), description)
    return {"svg": chart, "legend": legend, "heads": ["best", "at", "fixed"], "banded": banded}
