"""Gain ledgers as plain tables and as data."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reports.tables import TextTable
from reports.text import MISSING, points
from results.aggregate import stage_title
from results.explanations import Ledger, Share

_COLUMNS = ["name", "what", "gain", "low", "high", "least", "most"]


def conditions(ledger: Ledger) -> str:
    """Whose mIoU it is, and what the intervals are over, as a sentence without its end."""
    seeds = f"{len(ledger.seeds)} seed{'s' if len(ledger.seeds) > 1 else ''}"
    where = f"{ledger.dataset}, {ledger.scale} scale, {ledger.protocol} protocol, {seeds}"
    where += f", with {', '.join(ledger.settings)}" if ledger.settings else ""
    return f"{stage_title(ledger.score)} mIoU on {where}; 95 % intervals over {ledger.over}"


NOT_RUN = "not run here"
IN_INTERVALS = "in the intervals"


def ledger_table(name: str, ledger: Ledger) -> TextTable:
    """A row for each thing and one for all together; of a paper's number one for each condition. name: of its file."""
    if ledger.conditions:
        return _paper_table(name, ledger)
    rows = [*map(_row, ledger.shares), _row(ledger.whole)]
    caption = f"What {ledger.b} gains over {ledger.a}, in points: {conditions(ledger)}."
    heads = ["", "Gain", "Interval", "By order"]
    if not any(share.by_order for share in ledger.shares):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return TextTable(f"explanation-{name}", caption, heads, rows)


def _paper_table(name: str, ledger: Ledger) -> TextTable:
    shares = {share.name: share for share in ledger.shares}
    rows = []
    for each in ledger.conditions:
        if each.name in shares:
            worth = _row(shares[each.name])[1:3]
        else:
            worth = [IN_INTERVALS if each.name == "seeds" else NOT_RUN, ""]
        rows.append([each.what, each.here, each.paper, *worth])
    for share in (ledger.shares[-1], ledger.whole):
        what, *worth = _row(share)[:3]
        rows.append([what, "", "", *worth])
    caption = (
        f"What is between {ledger.a} and {ledger.b}, in points: {conditions(ledger)}. What is not run here is in what is "
        "not explained."
    )
    heads = ["", "Here", "Paper", "Worth here", "Interval"]
    return TextTable(f"explanation-{name}", caption, heads, rows, text_columns=3)


def _row(share: Share) -> list[str]:
    order = " to ".join(map(points, share.by_order)) if share.by_order else MISSING
    return [share.what, points(share.gain), f"{points(share.low)} to {points(share.high)}", order]


def ledgers_frame(ledgers: Mapping[str, Ledger]) -> pd.DataFrame:
    """A row for each thing of each ledger, in fractions; the row without a name is all together."""
    rows = [
        [name, ledger.a, ledger.b, ledger.score, len(ledger.seeds)]
        + [getattr(share, column) for column in _COLUMNS]
        for name, ledger in ledgers.items()
        for share in (*ledger.shares, ledger.whole)
    ]
    frame = pd.DataFrame(rows, columns=["explanation", "a", "b", "score", "seeds", *_COLUMNS])
    return frame.astype(dict.fromkeys(_COLUMNS[2:], "float64"))
