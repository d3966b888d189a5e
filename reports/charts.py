"""Charts as inline SVG: positions are computed here, templates draw them, the page's style sheet colours them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import LogLocator, MaxNLocator

from reports.templating import environment

_CHARACTER = 6.6
"""Mean width of a label's character in SVG units, at the style sheet's size of chart text."""

_ROW = 42
"""Height of a row of a waterfall, in SVG units."""

_OVERLAP = 0.1
"""Share of a label that may lie over others; one that would is left out."""


@dataclass(frozen=True)
class Axis:
    """A direction of a chart. ticks: (value, text) where they are not to be chosen; from_zero: begin at 0."""

    label: str = ""
    log: bool = False
    from_zero: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Line:
    """A curve: `x`, `y` (N,), a band `low` to `high` where finite, and a dot at `mark` (x, y).

    label: shown on hovering; series: which colour and dash; note: what is said of it after its label
    """

    label: str
    series: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray = field(default_factory=lambda: np.empty(0))
    high: np.ndarray = field(default_factory=lambda: np.empty(0))
    mark: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Bubble:
    """A disc of `area` (relative to the largest's, in [0, 1]) with its label beside it."""

    label: str
    series: int
    x: float
    y: float
    area: float
    note: str = ""


@dataclass(frozen=True)
class Step:
    """What a row of a waterfall adds, with its interval `low` to `high`; note: its numbers in words."""

    label: str
    gain: float
    low: float
    high: float
    note: str = ""


def line_chart(
    lines: Sequence[Line], x: Axis, y: Axis, description: str, size: tuple[int, int] = (640, 320)
) -> Markup:
    """An `<svg>`; description: its alternative text. Legends belong to the page."""
    plot = _Plot(
        size,
        _scale(np.concatenate([line.x for line in lines]), x, margin=0.22 if x.ticks else 0.04),
        _scale(np.concatenate([part for line in lines for part in (line.y, line.low, line.high)]), y),
    )
    drawn = []
    for line in lines:
        points = plot.points(line.x, line.y)
        band = []
        if line.low.size:
            band = plot.points(line.x, line.high) + plot.points(line.x, line.low)[::-1]
        drawn.append(
            {"series": line.series, "title": _title(line), "path": _path(points), "band": _path(band)}
            | {"dots": points if len(points) < 2 else []}
            | {"mark": plot.point(*line.mark) if line.mark else None}
        )
    return _draw("lines", plot, x, y, description, items=drawn)


def bubble_chart(
    bubbles: Sequence[Bubble], x: Axis, y: Axis, description: str, size: tuple[int, int] = (640, 400)
) -> Markup:
    """An `<svg>` of labelled discs; description: its alternative text."""
    plot = _Plot(
        size,
        _scale(np.array([b.x for b in bubbles]), x, margin=0.12),
        _scale(np.array([b.y for b in bubbles]), y, margin=0.1),
    )
    placed: list[tuple[float, float, float, float]] = []
    drawn = []
    for bubble in sorted(bubbles, key=lambda b: -b.area):  # small ones on top
        centre, radius = plot.point(bubble.x, bubble.y), 5 + 11 * math.sqrt(bubble.area)
        placed.append((centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius))
        drawn.append({"series": bubble.series, "title": _title(bubble), "label": bubble.label}
                     | {"x": centre[0], "y": centre[1], "r": round(radius, 1)})  # fmt: skip
    for item in drawn:
        item["text"] = _label_place(item, placed, plot)
    return _draw("bubbles", plot, x, y, description, items=drawn)


def waterfall_chart(
    start: tuple[str, float],
    steps: Sequence[Step],
    end: tuple[str, float],
    x: Axis,
    description: str,
    width: int = 640,
) -> Markup:
    """An `<svg>` of rows from above: where it starts (label, value), what each step adds, and where it ends.

    Each step begins where the one before has ended. Labels stand above their rows, so that none is too long.
    """
    before = np.cumsum([start[1], *(step.gain for step in steps)])
    ends = [before[n] + part for n, step in enumerate(steps) for part in (step.gain, step.low, step.high)]
    rows = len(steps) + 2
    plot = _Plot(
        (width, 60 + _ROW * rows),
        _scale(np.array([start[1], end[1], *ends]), x, margin=0.06),
        _Scale(0, rows, log=False, ticks=()),
        left=14,
    )

    def across(value: float) -> float:
        return plot.point(value, 0)[0]

    drawn: list[dict[str, Any]] = []
    for n, (label, value) in ((0, start), (rows - 1, end)):
        drawn.append({"row": n, "label": label, "note": f"{value:.1f}", "dot": across(value)})
    for n, step in enumerate(steps):
        low, high = sorted((across(before[n]), across(before[n + 1])))
        drawn.append(
            {"row": n + 1, "label": step.label, "note": step.note, "dot": None}
            | {"up": step.gain >= 0, "at": low, "wide": round(high - low, 1), "from": across(before[n])}
            | {"low": across(before[n] + step.low), "high": across(before[n] + step.high)}
        )
    for item in drawn:
        item["top"] = plot.top + _ROW * item["row"]
    return _draw("waterfall", plot, x, Axis(), description, items=drawn, last=across(before[-1]))


@dataclass(frozen=True)
class _Scale:
    """low, high: ends of the axis (their logarithms where `log`)."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: Any) -> Any:
        """0 at the low end, 1 at the high end."""
        return ((np.log10(value) if self.log else value) - self.low) / (self.high - self.low)


class _Plot:
    """Where values lie in an SVG of `size`."""

    def __init__(self, size: tuple[int, int], x: _Scale, y: _Scale, left: int = 56) -> None:
        self.width, self.height = size
        self.left, self.right, self.top, self.bottom = left, size[0] - 14, 12, size[1] - 48
        self.x, self.y = x, y

    def point(self, x: float, y: float) -> tuple[float, float]:
        across = self.left + self.x.share(x) * (self.right - self.left)
        up = self.bottom - self.y.share(y) * (self.bottom - self.top)
        return round(float(across), 1), round(float(up), 1)

    def points(self, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        """Of the finite values."""
        return [self.point(a, b) for a, b in zip(x.tolist(), y.tolist()) if math.isfinite(a + b)]


def _scale(values: np.ndarray, axis: Axis, margin: float = 0.04) -> _Scale:
    values = values[np.isfinite(values)]
    if axis.log:
        values = np.log10(values[values > 0])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    if axis.from_zero and not axis.log:
        low, high = min(0.0, low), max(0.0, high)
    spread = (high - low) or abs(high) * 0.2 or 1.0
    high += margin * spread
    if not (axis.from_zero and low == 0.0):
        low -= margin * spread
    if axis.ticks:
        return _Scale(low, high, axis.log, axis.ticks)
    if axis.log:
        steps = (1.0,) if high - low > 2 else (1.0, 2.0, 5.0)
        found = LogLocator(subs=steps, numticks=12).tick_values(10**low, 10**high)
        inside = [t for t in found if low <= math.log10(t) <= high]
    else:
        found = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        inside = [t for t in found if low <= t <= high + 1e-12 * spread]
    return _Scale(low, high, axis.log, tuple((float(t), _tick_text(float(t))) for t in inside))


def _tick_text(value: float) -> str:
    text = f"{round(value, 10):,.0f}" if abs(value) >= 1000 else f"{round(value, 10):g}"
    return text.replace("-", "−")


def _title(item: Line | Bubble) -> str:
    return f"{item.label}: {item.note}" if item.note else item.label


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if len(points) > 1 else ""


def _label_place(
    item: dict[str, Any], placed: list[tuple[float, float, float, float]], plot: _Plot
) -> tuple[float, float, str] | None:
    """Where a disc's label overlaps least what is there: right of it, left, above or below (x, y, anchor).

    Notes the label's box. None where it would lie over others at every place: the legend names it.
    """
    x, y, r, width = item["x"], item["y"], item["r"], len(item["label"]) * _CHARACTER
    places = [
        ((x + r + 4, y + 4), (x + r + 4, y - 7, x + r + 4 + width, y + 7), "start"),
        ((x - r - 4, y + 4), (x - r - 4 - width, y - 7, x - r - 4, y + 7), "end"),
        ((x, y - r - 5), (x - width / 2, y - r - 17, x + width / 2, y - r - 3), "middle"),
        ((x, y + r + 13), (x - width / 2, y + r + 2, x + width / 2, y + r + 16), "middle"),
    ]

    def cost(box: tuple[float, float, float, float]) -> float:
        outside = max(0.0, plot.left - box[0]) + max(0.0, box[2] - plot.width)
        outside += max(0.0, -box[1]) + max(0.0, box[3] - plot.bottom)
        return 100 * outside + sum(_overlap(box, other) for other in placed)

    (text_x, text_y), box, anchor = min(places, key=lambda place: cost(place[1]))
    if cost(box) > _OVERLAP * width * 14:
        return None
    placed.append(box)
    return round(text_x, 1), round(text_y, 1), anchor


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _draw(name: str, plot: _Plot, x: Axis, y: Axis, description: str, **more: Any) -> Markup:
    ticks = {
        "x": [(plot.point(value, 1.0 if plot.y.log else 0.0)[0], text) for value, text in plot.x.ticks],
        "y": [(plot.point(1.0 if plot.x.log else 0.0, value)[1], text) for value, text in plot.y.ticks],
    }
    template = environment().get_template(f"charts/{name}.svg")
    labels = {"x_label": x.label, "y_label": y.label}
    return Markup(template.render(plot=plot, ticks=ticks, description=description, **labels, **more))
