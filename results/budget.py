"""What `budget` has found in a run folder: how many masks say how much, and which images to label next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets.base import DataError

FOLDER = "budget"
DOCUMENT = "budget.json"
WIDTHS = "widths.csv"
PLAN = "plan-{split}.csv"
NEXT = "label-next.csv"

_KEYS = {"kind", "split", "images", "masks", "simulated", "level", "entries", "widths", "pair", "label",
         "advice", "warnings"}  # fmt: skip
_ENTRY = {"entry", "value", "low", "high", "plain", "plain_low", "plain_high", "factor"}
_WIDTH = {"masks", "plain", "evidence"}
_PAIR = {"first", "second", "difference", "low", "high", "needed_plain", "needed_evidence"}


def write_budget(folder: Path, document: dict[str, Any]) -> None:
    """Write what was found of one kind of map.

    kind, split, images (of the split), masks (of them); simulated: whether all have masks; level: of the intervals
    entries: rows with entry, value, low and high (mIoU with evidence; of a simulation the true one without interval),
    plain, plain_low, plain_high (without), factor (how many times as many masks the plain estimate needs)
    widths: rows with masks, plain and evidence (mean width of the entries' intervals, a fraction), and of a simulation
    ordered, coverage_plain, coverage_evidence and coverage_ordered
    pair: first, second (the best two), difference, low, high, needed_plain and needed_evidence (masks), and of a
    simulation needed_ordered; None for one entry
    label: how many images to label next; advice, warnings: lines. None stands for what there is not.
    """
    (folder / DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_budget(run_dir: Path) -> dict[str, Any] | None:
    """What `write_budget` wrote to a run folder; None where `budget` has not. Raises DataError."""
    path = run_dir / FOLDER / DOCUMENT
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for keys, rows in (
            (_KEYS, [document]),
            (_ENTRY, document["entries"]),
            (_WIDTH, document["widths"]),
            (_PAIR, [document["pair"]] if document["pair"] else []),
        ):
            for row in rows:
                if lacking := keys - row.keys():
                    raise ValueError(f"{min(lacking)} is missing")
        return dict(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it, or run `budget` again") from error
