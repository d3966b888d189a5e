"""Tables as CSV that a spreadsheet opens without calculating anything: names in them come from anywhere."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""How cells begin that a spreadsheet takes for a formula, or that were made harmless before."""


def harmless(cell: Any) -> Any:
    """Text that a spreadsheet would calculate, behind an apostrophe, which shows it as it is; anything else unchanged."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell) else cell


def original(cell: Any) -> Any:
    """What `harmless` was given."""
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and _FORMULA.match(cell) else cell


def to_csv(frame: pd.DataFrame, path: Path | None = None) -> str:
    """A table without its index as text, written to `path` if one is given."""
    safe: pd.DataFrame = _each_text(frame, harmless).rename(columns=harmless)
    text = str(safe.to_csv(index=False))
    if "\r" in text:  # which begins a row where it stands outside of quotes, and is not put into them
        text = str(safe.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))
    if path is not None:
        path.write_text(text, encoding="utf-8", newline="")
    return text


def read_csv(path: Path, numbers: list[str]) -> pd.DataFrame:
    """What `to_csv` wrote: text, but for columns of numbers, where empty cells are missing values."""
    import pandas as pd

    frame = _each_text(pd.read_csv(path, dtype=str, keep_default_na=False), original).rename(columns=original)
    frame[numbers] = frame[numbers].replace("", "nan").astype(float)
    return frame


def _each_text(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    changed = frame.copy()
    for place, kind in enumerate(frame.dtypes):  # names may be there twice
        if kind.kind not in "biufc":
            changed.isetitem(place, frame.iloc[:, place].map(change).to_numpy())
    return changed


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
