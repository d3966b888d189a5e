"""What of the papers' tables reproduces: the comparisons of all experiments of a folder, as text and files."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from reports.tables import TextTable
from reports.text import MISSING
from results.aggregate import as_rows
from results.directions import MISSED, RANGE, VERDICTS

CAPTION = (
    "Each table's best row in the paper, of those that have a score here, against its other rows: difference in points "
    "(of mIoU, accuracy and ratios: hundredths), its 95 % interval, the share of the paper's effect that is found with "
    "its interval, p after Holm's correction over the table, n seeds, and at which threshold CAMs were scored. "
    "Intervals are over images (bootstrap) and seeds (the pair's own differences, shrunk a little towards those of all "
    "comparisons of the score); of one seed nothing is concluded."
)
UNDIAGNOSED = "no diagnosis yet"


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Number of comparisons by verdict, in the order of `VERDICTS`; one that two tables show with one verdict is one."""
    found = _distinct(table)["verdict"].value_counts()
    return {verdict: int(found.get(verdict, 0)) for verdict in VERDICTS}


def repeated(table: pd.DataFrame) -> int:
    """Number of rows that show again what another table has."""
    return len(table) - len(_distinct(table))


def _distinct(table: pd.DataFrame) -> pd.DataFrame:
    own = table["same"].where(table["same"] != "", table.index.astype(str))
    return table[~pd.DataFrame({"same": own, "verdict": table["verdict"]}).duplicated()]


def undiagnosed(table: pd.DataFrame) -> int:
    """Number of comparisons of tables as set that fall short, without a diagnosis."""
    as_set = table["conditions"] == ""
    return int((as_set & table["verdict"].isin(MISSED) & (table["diagnosis"] == "")).sum())


def tally(table: pd.DataFrame) -> str:
    """How many comparisons there are by verdict, and what is to know of the count."""
    parts = [", ".join(f"{number} {verdict}" for verdict, number in counts(table).items())]
    if again := repeated(table):
        parts.append(f"{again} more rows show again what another table has")
    if missing := undiagnosed(table):
        parts.append(f"{missing} {' or '.join(MISSED)} without a diagnosis")
    return "; ".join(parts)


def group_of(row: dict[str, Any]) -> str:
    """What the comparisons of one experiment on the same data under the same conditions are listed under."""
    where = ", ".join(filter(None, (row["place"], row["conditions"])))
    return f"{row['experiment']} ({where})" if where else str(row["experiment"])


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A comparison in text: `compared`, `paper`, `here`, `interval`, `share`, `p`, `n`, `threshold`, `verdict`,
    `remark`."""
    ranged = row["verdict"] == RANGE
    missing = UNDIAGNOSED if row["verdict"] in MISSED and not row["conditions"] else ""
    return {
        "compared": row["row"] if ranged else f"{row['better']} against {row['row']}",
        "paper": _spread(row["paper"]) if ranged else _signed(row["paper"]),
        "here": _spread(row["difference"]) if ranged else _signed(row["difference"]),
        "interval": _interval(row["low"], row["high"], _signed),
        "share": _share(row),
        "p": _p(row["p_holm"]),
        "n": str(row["n"]),
        "threshold": row["threshold"] or MISSING,
        "verdict": row["verdict"],
        "remark": "; ".join(filter(None, (row["reason"], row["diagnosis"] or missing))),
    }


def _share(row: dict[str, Any]) -> str:
    if not math.isfinite(row["share"]):
        return MISSING
    interval = _interval(row["share_low"], row["share_high"], _percent)
    return f"{_percent(row['share'])} %" + (f" ({interval})" if interval != MISSING else "")


def _interval(low: float, high: float, text: Callable[[float], str]) -> str:
    return f"{text(low)} to {text(high)}" if math.isfinite(low) else MISSING


def _percent(value: float) -> str:
    return f"{100 * value:.0f}".replace("-", "−")


def _p(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return f"{value:.3f}".removeprefix("0") if value >= 0.001 else "< .001"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else MISSING


def _spread(value: float) -> str:
    return f"within {value:.2f}" if math.isfinite(value) else MISSING


COLUMNS = {
    "verdict": "Verdict",
    "threshold": "Threshold",
    "paper": "Paper",
    "here": "Here",
    "interval": "95 % interval",
    "share": "Share of the effect",
    "p": "p (Holm)",
    "n": "n",
    "remark": "Remark",
}
"""Name in `cells` -> heading, after what is compared."""


def directions_table(table: pd.DataFrame) -> TextTable:
    """All comparisons as one plain table."""
    rows = []
    for row in as_rows(table):
        text = cells(row)
        rows.append(
            [f"{group_of(row)}, {row['column']}", text["compared"], *(text[name] for name in COLUMNS)]
        )
    heads = ["Table", "Compared", *COLUMNS.values()]
    return TextTable("reproduction", f"{CAPTION} {tally(table)}.", heads, rows, 4, 1)
