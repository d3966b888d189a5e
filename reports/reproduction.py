"""What of the papers' tables reproduces: the comparisons of all experiments of a folder, as text and files."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from reports.tables import TextTable
from reports.text import MISSING
from results.aggregate import as_rows
from results.directions import NOT_REPRODUCED, POINT, RANGE, VERDICTS

CAPTION = (
    "Each table's best row in the paper against its other rows: difference in points (of mIoU, accuracy and ratios: "
    "hundredths), its 95 % interval over images (bootstrap) and seeds, n seeds. A direction is tested where the "
    f"paper's difference is at least {POINT:g} point, or where the paper claims it without a number."
)
UNDIAGNOSED = "no diagnosis yet"


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Number of comparisons by verdict, in the order of `VERDICTS`."""
    found = table["verdict"].value_counts()
    return {verdict: int(found.get(verdict, 0)) for verdict in VERDICTS}


def undiagnosed(table: pd.DataFrame) -> int:
    """Number of comparisons of tables as set that do not reproduce, without a diagnosis."""
    as_set = table["conditions"] == ""
    return int((as_set & (table["verdict"] == NOT_REPRODUCED) & (table["diagnosis"] == "")).sum())


def group_of(row: dict[str, Any]) -> str:
    """What the comparisons of one experiment on the same data under the same conditions are listed under."""
    where = ", ".join(filter(None, (row["place"], row["conditions"])))
    return f"{row['experiment']} ({where})" if where else str(row["experiment"])


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A comparison in text: `compared`, `paper`, `here`, `interval`, `n`, `verdict`, `remark`."""
    ranged = row["verdict"] == RANGE
    known = math.isfinite(row["low"])
    missing = UNDIAGNOSED if row["verdict"] == NOT_REPRODUCED and not row["conditions"] else ""
    return {
        "compared": row["row"] if ranged else f"{row['better']} against {row['row']}",
        "paper": _spread(row["paper"]) if ranged else _signed(row["paper"]),
        "here": _spread(row["difference"]) if ranged else _signed(row["difference"]),
        "interval": f"{_signed(row['low'])} to {_signed(row['high'])}" if known else MISSING,
        "n": str(row["n"]),
        "verdict": row["verdict"],
        "remark": "; ".join(filter(None, (row["reason"], row["diagnosis"] or missing))),
    }


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else MISSING


def _spread(value: float) -> str:
    return f"within {value:.2f}" if math.isfinite(value) else MISSING


def directions_table(table: pd.DataFrame) -> TextTable:
    """All comparisons as one plain table."""
    rows = []
    for row in as_rows(table):
        text = cells(row)
        rows.append(
            [
                f"{group_of(row)}, {row['column']}",
                text["compared"],
                text["verdict"],
                *(text[name] for name in ("paper", "here", "interval", "n", "remark")),
            ]
        )
    tally = ", ".join(f"{number} {verdict}" for verdict, number in counts(table).items())
    if missing := undiagnosed(table):
        tally += f"; {missing} not reproduced without a diagnosis"
    heads = ["Table", "Compared", "Verdict", "Paper", "Here", "95 % interval", "n", "Remark"]
    return TextTable("reproduction", f"{CAPTION} {tally}.", heads, rows, 3, 1)
