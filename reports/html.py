"""The HTML report: one file that opens from disk, asks the network for nothing and escapes every name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports import view
from reports.headline import headline
from reports.sections import board_sections, page_sections, summary
from reports.tables import baseline_table
from reports.templating import environment
from reports.text import has_several_seeds
from results.io import StoredRuns
from results.significance import Significance


def render(stored: StoredRuns, board: pd.DataFrame, found: Significance | None = None) -> str:
    """The page for a run and its `leaderboard`.

    found: `results.significance`'s; where it is known, entries that do not differ significantly share a place
    """
    boards = list(view.boards(stored, board, found))
    shown = [
        {
            "board": b,
            "baseline": baseline_table(found, b.table),
            "lead": headline(b.table, found),
            "facts": summary.facts(b),
            "sections": board_sections(b),
        }
        for b in boards
    ]
    choices = {
        name: list(dict.fromkeys(getattr(b, name) for b in boards)) for name in ("name", "scale", "protocol")
    }
    return (
        environment()
        .get_template("report.html")
        .render(
            boards=shown,
            choices={name: values for name, values in choices.items() if len(values) > 1},
            sections=page_sections(boards),
            finished=_finished(stored.runs),
            several_seeds=has_several_seeds(board),
        )
    )


def _finished(runs: Sequence[dict[str, Any]]) -> str:
    """When the last run finished, to the minute."""
    times = [str(run["provenance"]["finished"]) for run in runs if run["provenance"].get("finished")]
    return max(times, default="")[:16].replace("T", " ")
