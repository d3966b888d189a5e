"""What `select` has chosen in a run folder: `selection/selection.json`, the same as CSV, and its evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets.base import DataError

FOLDER = "selection"
CHOICES = "selection.json"
TABLE = "selection.csv"


def write_choices(folder: Path, document: dict[str, Any]) -> None:
    """Write the choices of a run.

    document: warnings, a line each; level of the intervals, None where nothing is predicted; choices, rows with kind,
    entry, rank, threshold, and predicted, low and high where predicted; None for what there is not
    """
    (folder / CHOICES).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_choices(run_dir: Path) -> dict[str, Any] | None:
    """What `write_choices` wrote to a run folder; None where `select` has not. Raises DataError."""
    path = run_dir / FOLDER / CHOICES
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for row in document["choices"]:
            if not {"kind", "entry", "rank", "threshold"} <= row.keys():
                raise ValueError("a choice lacks something")
            if row.get("predicted") is not None and not {"low", "high"} <= row.keys():
                raise ValueError("a prediction lacks its interval")
        return {
            "warnings": list(document["warnings"]),
            "level": document["level"],
            "choices": document["choices"],
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it, or run `select` again") from error
