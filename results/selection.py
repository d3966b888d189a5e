"""What `select` has chosen in a run folder: `selection/selection.json`, the same as CSV, and its evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed
from results.io import replace_file, require_shape
from results.schema import EXTERNAL

FOLDER = "selection"
CHOICES = "selection.json"
TABLE = "selection.csv"
KINDS = ("cam", "pseudo_label", "prediction")
"""Kinds of artifacts that are chosen among."""


def choosable(run: Mapping[str, Any]) -> bool:
    """Whether `select` chooses among what a run (`RunRecord` as plain data) has left: made here, without masks."""
    supervision = str(run["method_info"].get("supervision", "")).split("+")
    data = run["settings"].get("dataset")
    stored = bool(run["stages"]) and isinstance(data, dict) and isinstance(data.get("name"), str)
    return stored and not run["method"].startswith(EXTERNAL) and "M" not in supervision


def chosen_stages(run: Mapping[str, Any], kinds: Sequence[str] = KINDS) -> Iterator[Mapping[str, Any]]:
    """The stages of a run whose artifacts are its results of such kinds."""
    return (s for s in run["stages"] if s.get("key") and s.get("kind") in kinds and s.get("shown"))


def keys_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of all that `select` chooses among in these runs, sorted: when they change, its choices are out of date."""
    return sorted({stage["key"] for run in runs if choosable(run) for stage in chosen_stages(run)})


_NUMBER = float | None
_CHOICE = {"kind": str, "entry": str, "rank": int, "threshold": _NUMBER} | dict.fromkeys(
    ("predicted?", "low?", "high?"), _NUMBER
)
_SHAPE = {"warnings": [str], "level": _NUMBER, "keys": [str], "choices": [_CHOICE]}


def write_choices(folder: Path, document: dict[str, Any]) -> None:
    """Write the choices of a run.

    document: warnings, a line each; level of the intervals, None where nothing is predicted; keys, see `keys_of`;
    choices, rows with kind, entry, rank, threshold, and predicted, low and high where predicted; None for what there
    is not
    """
    text = json.dumps(sealed(document), indent=1, allow_nan=False)
    replace_file(folder / CHOICES, lambda file: file.write_text(text + "\n", encoding="utf-8"))


def read_choices(run_dir: Path) -> dict[str, Any] | None:
    """What `write_choices` wrote to a run folder; None where `select` has not. Raises DataError."""
    path = run_dir / FOLDER / CHOICES
    if not path.exists():
        return None
    try:
        document = read_sealed(path)
        require_shape(document, _SHAPE, "selection")
        for row in document["choices"]:
            if row.get("predicted") is not None and None in (row.get("low"), row.get("high")):
                raise ValueError("a prediction lacks its interval")
            if not _are_numbers(*(value for value in row.values() if not isinstance(value, str))):
                raise ValueError(f"a number of {row['entry']:.60} is none")
        return document
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it, or run `select` again") from error


def _are_numbers(*values: Any) -> bool:
    """Whether each is a finite number, or None."""
    return all(v is None or (isinstance(v, int | float) and math.isfinite(v)) for v in values)
