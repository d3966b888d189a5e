"""Figures for papers, as PDF and SVG: the gain from stage to stage, and accuracy against cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figure_files import FOLDER, figure_name
from reports.text import entry_key, entry_label
from results.aggregate import KEYS, as_rows, board_names, varying
from results.changes import BOARD
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.io import StoredRuns

STAGES = (("cam_oracle", "CAM"), ("pseudo_label", "pseudo-label"), ("segmentation", "segmentation"))
_LONGEST = 40
_COLOURS = 10
"""Colours of seaborn's palette for the colour-blind."""
_DASHES = ("-", "--", ":")
_MARKERS = "osD^vP*X<>hp"


@dataclass(frozen=True)
class Panel:
    """mIoU against a cost: columns of the leaderboard (without `_mean`) and of `results.costs`, the network whose
    parameters are shown, the axes' labels"""

    score: str
    cost: str
    network: str
    x: str
    y: str


PANELS = (
    Panel("segmentation", "training_minutes", "segmentation", "all trainings (min)", "segmentation mIoU (%)"),
    Panel("cam_fixed", "cam_macs_g", "cam", "CAM network, G MACs an image", "CAM mIoU (%), fixed threshold"),
)


def write(stored: StoredRuns, board: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the figures of every leaderboard as `figures/<figure>-<board>.pdf` and `.svg`; returns the PDFs."""
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    written = []
    # text stays text, and the same run gives the same file
    with mpl.rc_context(
        {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 9}
    ):
        for name, figure in figures(stored, board):
            path = target / f"{name}.pdf"
            figure.savefig(path, metadata={"CreationDate": None, "Creator": None, "Producer": None})
            figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
            written.append(path)
    return written


def figures(stored: StoredRuns, board: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Name and figure of all that a run has the numbers for."""
    cost = costs(stored, complexity_table(read_profiles(stored.path)))
    for _, part in board.groupby(BOARD, sort=False):
        entries = part[part["status"] != "reference"]
        if (stages := stage_gain(entries)) is not None:
            yield figure_name("stages", board_names(part)), stages
        if (against := accuracy_against_cost(entries, cost)) is not None:
            yield figure_name("cost", board_names(part)), against


def stage_gain(entries: pd.DataFrame) -> Figure | None:
    """mIoU at each stage, one colour an entry, with lines between stages of the same split and the deviation over seeds;
    None if none has two stages."""
    lines = []
    for row in as_rows(entries):
        mean = 100 * np.array([row[f"{name}_mean"] for name, _ in STAGES], float)
        if np.isfinite(mean).sum() > 1:
            lines.append((row, mean, 100 * np.array([row[f"{name}_std"] for name, _ in STAGES], float)))
    if not lines:
        return None
    figure, (axes,) = _axes(entries)
    colours, extra = sns.color_palette("colorblind", len(lines)), varying(entries)
    for number, (row, mean, deviation) in enumerate(lines):
        # beside each other, so that no bar hides another
        x = np.arange(len(STAGES)) + (0.3 * (number + 0.5) / len(lines) - 0.15)
        # the last is scored on other images: no line leads there
        x, mean, deviation = (np.insert(values, -1, np.nan) for values in (x, mean, deviation))
        axes.errorbar(
            x,
            mean,
            np.nan_to_num(deviation),
            color=colours[number],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linestyle=_DASHES[number // _COLOURS % len(_DASHES)],
            linewidth=1.2,
            capsize=2,
            label=_plain(entry_label(row, extra)),
        )
    axes.set_xticks(range(len(STAGES)), [title for _, title in STAGES])
    axes.set_ylabel("mIoU (%)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def accuracy_against_cost(entries: pd.DataFrame, cost: pd.DataFrame) -> Figure | None:
    """mIoU against cost, the panels of `PANELS` that there is anything for; areas grow with the network's parameters."""
    known = as_rows(entries.merge(cost, on=KEYS))
    panels = [(p, points) for p in PANELS if (points := [r for r in known if _has(r, p)])]
    if not panels:
        return None
    extra = varying(entries)
    # an entry looks alike in both panels
    shown = {entry_key(row): row for row in known if any(_has(row, panel) for panel, _ in panels)}
    colours = dict(zip(shown, sns.color_palette("colorblind", len(shown))))
    markers = dict(zip(shown, cycle(_MARKERS)))
    figure, all_axes = _axes(entries, len(panels))
    for (panel, points), axes in zip(panels, all_axes):
        for row in points:
            key, x, y = entry_key(row), row[panel.cost], 100 * row[f"{panel.score}_mean"]
            deviation = np.nan_to_num(100 * row[f"{panel.score}_std"])
            parameters = row[f"{panel.network}_parameters_m"]
            area = 30 + (6 * parameters if np.isfinite(parameters) else 0)
            axes.errorbar(x, y, deviation, color=colours[key], capsize=2, linewidth=1)
            axes.scatter(x, y, s=area, color=colours[key], marker=markers[key], alpha=0.8)
        axes.margins(0.12)  # room for the marks
        axes.set_xlabel(panel.x)
        axes.set_ylabel(panel.y)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=markers[key],
            color=colours[key],
            label=_plain(entry_label(row, extra)),
        )
        for key, row in shown.items()
    ]
    all_axes[-1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def _has(row: dict[str, Any], panel: Panel) -> bool:
    return bool(np.isfinite(row[f"{panel.score}_mean"]) and np.isfinite(row[panel.cost]))


def _axes(entries: pd.DataFrame, panels: int = 1) -> tuple[Figure, list[Axes]]:
    with sns.axes_style("whitegrid", {"axes.edgecolor": ".6"}):
        height = max(3.0, 0.19 * len(entries) + 0.6)  # as long as its legend
        figure = Figure(figsize=(6.3 if panels == 1 else 8.6, height), layout="constrained")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for one in axes:
        sns.despine(ax=one, left=True)
    axes[0].set_title(_plain(", ".join(board_names(entries))), fontsize=9, loc="left")
    return figure, axes


def _plain(text: str) -> str:
    """Text in which matplotlib finds no formula, short enough to leave room for the axes."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return short.replace("$", r"\$").lstrip("_") or "–"
