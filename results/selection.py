"""What `select` has chosen in a run folder: `selection/selection.json`, the same as CSV, and its evidence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed

FOLDER = "selection"
CHOICES = "selection.json"
TABLE = "selection.csv"


def write_choices(folder: Path, document: dict[str, Any]) -> None:
    """Write the choices of a run.

    document: warnings, a line each; level of the intervals, None where nothing is predicted; choices, rows with kind,
    entry, rank, threshold, and predicted, low and high where predicted; None for what there is not
    """
    text = json.dumps(sealed(document), indent=1, allow_nan=False)
    (folder / CHOICES).write_text(text + "\n", encoding="utf-8")


def read_choices(run_dir: Path) -> dict[str, Any] | None:
    """What `write_choices` wrote to a run folder; None where `select` has not. Raises DataError."""
    path = run_dir / FOLDER / CHOICES
    if not path.exists():
        return None
    try:
        document = read_sealed(path)
        found = {name: document[name] for name in ("warnings", "level", "choices")}
        for row in found["choices"]:
            predicted = (
                [row["predicted"], row["low"], row["high"]] if row.get("predicted") is not None else []
            )
            if not isinstance(row["kind"], str) or not isinstance(row["entry"], str):
                raise ValueError("a choice does not say of what it is")
            if not _are_numbers(row["rank"], row["threshold"], *predicted):
                raise ValueError(f"a number of {row['entry']:.60} is none")
        if not _are_numbers(found["level"]) or not all(isinstance(line, str) for line in found["warnings"]):
            raise ValueError("its level or warnings are none")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it, or run `select` again") from error


def _are_numbers(*values: Any) -> bool:
    """Whether each is a finite number, or None."""
    return all(v is None or (isinstance(v, int | float) and math.isfinite(v)) for v in values)
