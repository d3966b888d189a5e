"""What `select` has chosen without masks: thresholds, ranks and predicted mIoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.text import percent
from reports.view import Board
from results.selection import keys_of, read_choices

TITLE = "Chosen without masks"
_KINDS = {
    "cam": "CAMs (train)",
    "pseudo_label": "Pseudo-labels (train)",
    "prediction": "Segmentation (val)",
}


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """None where `select` was not run on the folder."""
    found = read_choices(boards[0].path) if boards else None
    if found is None:
        return None
    groups = []
    for kind, title in _KINDS.items():
        rows = [_row(choice) for choice in found["choices"] if choice["kind"] == kind]
        if rows:
            groups.append({"title": title, "rows": rows})
    level = found["level"]
    now = keys_of([run for board in boards for run in board.runs])
    return {
        "groups": groups,
        "warnings": found["warnings"],
        "level": level and f"{100 * level:.3g} %",
        "stale": now != found["keys"],
    }


def _row(choice: dict[str, Any]) -> dict[str, str]:
    predicted = choice.get("predicted")
    return {
        "rank": str(choice["rank"]),
        "entry": choice["entry"],
        "threshold": "" if choice["threshold"] is None else f"{choice['threshold']:.2f}",
        "predicted": "" if predicted is None else percent(predicted),
        "interval": "" if predicted is None else f"{percent(choice['low'])} to {percent(choice['high'])}",
    }
