"""Any JSON that a stage left, for reading: plain values as a list, series as charts, tables as tables, else as text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from reports.charts import Axis, Line, line_chart

_SERIES_FROM = 12
"""Length from which a list of numbers is a chart."""

_SIZE = (420, 220)


def blocks(content: Any) -> list[dict[str, Any]]:
    """Blocks in reading order, each with `kind` and `title`:

    values: `rows` of (name, text); chart: `svg`; table: `heads`, `rows` of (name, texts); text: `text`
    """
    if not isinstance(content, dict):
        return [{"kind": "text", "title": "", "text": _json(content)}]
    columns = [value for value in content.values() if _is_list_of(value, str)]
    values: list[tuple[str, str]] = []
    rest: list[dict[str, Any]] = []
    for key, value in content.items():
        title = _words(key)
        if (series := _series(value)) is not None:
            rest.append({"kind": "chart", "title": title, "svg": _chart(title, *series)})
        elif (table := _table(value, columns)) is not None:
            rest.append({"kind": "table", "title": title} | table)
        elif _is_list_of(value, (str, int, float)):
            values.append((title, ", ".join(map(_text, value))))
        elif isinstance(value, (dict, list)):
            rest.append({"kind": "text", "title": title, "text": _json(value)})
        else:
            values.append((title, _text(value)))
    return ([{"kind": "values", "title": "", "rows": values}] if values else []) + rest


def _series(value: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions and values of a long list of numbers, thinned or not; None of anything else."""
    step = 1
    if isinstance(value, dict) and set(value) == {"every", "values"}:
        step, value = value["every"], value["values"]
    if not (_is_list_of(value, (int, float)) and len(value) >= _SERIES_FROM):
        return None
    return np.arange(len(value), dtype=float) * step, np.array(value, dtype=float)


def _chart(title: str, x: np.ndarray, y: np.ndarray) -> Any:
    description = f"Line chart: {title}, from {_text(float(y[0]))} to {_text(float(y[-1]))}"
    return line_chart([Line(title, 0, x, y)], Axis("position in the list"), Axis(title), description, _SIZE)


def _table(value: Any, columns: list[list[str]]) -> dict[str, Any] | None:
    """A dict of equally long lists, or of plain values; headed by the list of names that is as long, if any."""
    if not isinstance(value, dict) or not value:
        return None
    if all(isinstance(item, (str, int, float)) for item in value.values()):
        return {"heads": [], "rows": [(name, [_text(item)]) for name, item in value.items()]}
    lists = list(value.values())
    if not all(_is_list_of(item, (str, int, float)) and len(item) == len(lists[0]) for item in lists):
        return None
    heads = next((names for names in columns if len(names) == len(lists[0])), None)
    heads = heads or [str(number + 1) for number in range(len(lists[0]))]
    return {
        "heads": heads,
        "rows": [(name, [_text(item) for item in items]) for name, items in value.items()],
    }


def _is_list_of(value: Any, kinds: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kinds) for item in value)


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
