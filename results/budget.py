"""What `budget` has found in a run folder: how many masks say how much, and which images to label next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed
from results.io import replace_file, require_shape
from results.selection import choosable, chosen_stages

FOLDER = "budget"
DOCUMENT = "budget.json"
WIDTHS = "widths.csv"
PLAN = "plan-{split}.csv"
NEXT = "label-next.csv"

_NUMBER = float | int
_MAYBE = float | int | None
_ENTRY = {"entry": str, "value": _NUMBER, "plain": _NUMBER, "factor": _NUMBER} | dict.fromkeys(
    ("low", "high", "plain_low", "plain_high"), _MAYBE
)
_PAIR = {"first": str, "second": str, "difference": _NUMBER, "low": _MAYBE, "high": _MAYBE} | dict.fromkeys(
    ("needed_plain", "needed_evidence"), _NUMBER
)
_SHAPE = {"kind": str, "split": str, "images": int, "masks": int, "simulated": bool, "level": _NUMBER, "label": int,
          "advice": str, "warnings": [str], "state": [str], "entries": [_ENTRY],
          "widths": [dict.fromkeys(("masks", "plain", "evidence"), _NUMBER)]}  # fmt: skip


def state_of(runs: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """Artifacts of a kind and their scores in these runs, sorted: when they change, what was found is out of date."""
    found = (stage for run in runs if choosable(run) for stage in chosen_stages(run, (kind,)))
    return sorted({f"{stage['key']} {(stage.get('score') or {}).get('key')}" for stage in found})


def write_budget(folder: Path, document: dict[str, Any]) -> None:
    """Write what was found of one kind of map.

    kind, split, images (of the split, but those that need no mask), masks (of them); simulated: whether all have one
    entries: rows with entry, value, low and high (mIoU with evidence; of a simulation the true one without interval),
    plain, plain_low, plain_high (without), factor (how many times as many masks the plain estimate needs)
    widths: rows with masks, plain and evidence (mean width of the entries' intervals, a fraction), and of a simulation
    ordered, coverage_plain, coverage_evidence and coverage_ordered
    pair: first, second (the best two), difference, low, high, needed_plain and needed_evidence (masks), and of a
    simulation needed_ordered; None for one entry
    label: how many images to label next; advice, warnings: lines; state: see `state_of`. None stands for what there is
    not.
    """
    text = json.dumps(sealed(document), indent=1, allow_nan=False)
    replace_file(folder / DOCUMENT, lambda file: file.write_text(text + "\n", encoding="utf-8"))


def read_budget(run_dir: Path) -> dict[str, Any] | None:
    """What `write_budget` wrote to a run folder; None where `budget` has not. Raises DataError."""
    path = run_dir / FOLDER / DOCUMENT
    if not path.is_file():
        return None
    try:
        document = read_sealed(path)
        require_shape(document, _SHAPE, "budget")
        require_shape(document.get("pair") or [], _PAIR if document.get("pair") else [str], "budget: pair")
        if not document["entries"] or not document["widths"]:
            raise ValueError("it has no entry")
        return document
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it, or run `budget` again") from error
