"""Figures as inline SVG whose colours follow the page (light or dark) through CSS variables."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

SERIES_COLOURS = 8
"""Number of `--series-<i>` colours that the page's style sheet defines."""

_INK, _LINE = "#0000f0", "#0000f1"
_DASHES = ("solid", (0, (5, 2)), (0, (1, 1.4)))


@dataclass(frozen=True)
class Curve:
    """One line: `x`, `mean`, `deviation` (N,), the last NaN for n = 1; a dot at x = `mark` unless NaN."""

    x: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    mark: float
    series: int


def curve_figure(curves: Sequence[Curve], x_label: str, y_label: str) -> str:
    """Lines with a band of one standard deviation; returns an `<svg>` element. Legends belong to the page."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 10}):
        figure = Figure(figsize=(7.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for curve in curves:
            colour, dash = _series_hex(curve.series), _DASHES[curve.series // SERIES_COLOURS % len(_DASHES)]
            axes.plot(curve.x, curve.mean, color=colour, linestyle=dash, linewidth=1.6)
            if np.isfinite(curve.deviation).any():
                low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
                axes.fill_between(curve.x, low, high, color=colour, alpha=0.13, linewidth=0)
            if np.isfinite(curve.mark):
                y = np.interp(curve.mark, curve.x, curve.mean)
                axes.plot([curve.mark], [y], "o", color=colour, markersize=5)
        axes.set_xlabel(x_label, color=_INK)
        axes.set_ylabel(y_label, color=_INK)
        axes.tick_params(colors=_LINE, labelcolor=_INK, length=3)
        axes.grid(axis="y", color=_LINE, linewidth=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_LINE)
        axes.margins(x=0.01)
        axes.set_ylim(bottom=0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue())


def _series_hex(index: int) -> str:
    return f"#0001{index % SERIES_COLOURS:02x}"


def _for_page(svg: str) -> str:
    """Drop the XML head, the metadata and the fixed size; turn the placeholder colours into the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace(_INK, "currentColor").replace(_LINE, "var(--line-strong)")
    return re.sub(r"#0001(0[0-7])", lambda match: f"var(--series-{int(match[1])})", svg)
