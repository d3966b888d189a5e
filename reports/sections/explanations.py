"""Gain ledgers: what the difference of two methods is made of, as waterfall charts with their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.charts import Axis, Step, waterfall_chart
from reports.ledgers import conditions, ledger_table
from reports.text import points
from reports.view import Board
from results.explanations import Ledger, read_ledgers

TITLE = "Where a gain comes from"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    """None where `explain` has left nothing in the folder."""
    found = read_ledgers(boards[0].path) if boards else {}
    ledgers = [
        {
            "title": f"{ledger.a} against {ledger.b}" if ledger.conditions else f"{ledger.b} over {ledger.a}",
            "conditions": conditions(ledger),
            "svg": _chart(ledger),
            "table": ledger_table(name, ledger),
            "paper": bool(ledger.conditions),
            "one_seed": len(ledger.seeds) == 1,
        }
        for name, ledger in found.items()
    ]
    return {"ledgers": ledgers} if ledgers else None


def _chart(ledger: Ledger) -> Any:
    steps = [
        Step(share.what, 100 * share.gain, 100 * share.low, 100 * share.high, points(share.gain))
        for share in ledger.shares
    ]
    description = (
        f"Waterfall chart: what is gained from {ledger.a} to {ledger.b}; the table below has the numbers."
    )
    ends = ((ledger.a, 100 * ledger.start), (ledger.b, 100 * ledger.end))
    return waterfall_chart(ends[0], steps, ends[1], Axis("mIoU (%)"), description)
