"""What changed between two runs, in Markdown, which the terminal shows as it is."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from reports.tables import TextTable
from reports.text import ONE_SEED, percent, points
from results.aggregate import KEYS, SCORES, as_rows
from results.io import read_run
from results.run_comparison import RunComparison, compare_runs

_TITLES = {score.name: f"{score.title} ({score.split})" for score in SCORES}


def compare_reports(before: Path, after: Path) -> list[TextTable]:
    """Tables of what differs between two run folders; empty if nothing does. Raises DataError."""
    return change_tables(compare_runs(read_run(before), read_run(after)))


def change_tables(changes: RunComparison) -> list[TextTable]:
    """A table a kind of change, those without one left out."""
    found = [_scores(changes.scores)]
    for name, caption, table in (
        ("settings", "Settings that differ.", changes.settings),
        ("states", "Entries whose state changed.", changes.states),
        ("versions", "Code, packages and hardware that differ.", changes.versions),
    ):
        entries = [[_entry(row)] if name != "versions" else [] for row in as_rows(table)]
        columns = [c for c in ("setting", "before", "after") if c in table]
        rows = [[*entry, *(str(row[c]) for c in columns)] for entry, row in zip(entries, as_rows(table))]
        heads = [*(["Entry"] if name != "versions" else []), *(c.capitalize() for c in columns)]
        found.append(TextTable(name, caption, heads, rows, len(heads)))
    alone = (("first", changes.only_a), ("second", changes.only_b))
    only = [[" · ".join(filter(None, key)), where] for where, keys in alone for key in keys]
    found.append(TextTable("entries", "Entries that one run alone has.", ["Entry", "Run"], only, 2))
    return [table for table in found if table.rows]


def _scores(scores: pd.DataFrame) -> TextTable:
    changed = [row for row in as_rows(scores) if row["difference"]]
    tested = any(math.isfinite(row["p"]) for row in changed)
    single = any(min(row["n_before"], row["n_after"]) == 1 for row in changed)
    reason = f"{ONE_SEED.capitalize()}." if single else "Not tested: without resamples of the same images."
    rows = [
        [
            _entry(row),
            _TITLES[row["score"]],
            percent(row["before"]),
            percent(row["after"]),
            points(row["difference"]),
            *([f"{row['p']:.3f}" if math.isfinite(row["p"]) else "–"] if tested else []),
            f"{row['n_before']}, {row['n_after']}",
        ]
        for row in changed
    ]
    same = len(scores) - len(changed)
    caption = (
        f"Scores that differ (mIoU in percent); {same} are equal. "
        "p: paired bootstrap over images and variance over seeds, not corrected for the number of rows."
        if tested
        else f"Scores that differ (mIoU in percent); {same} are equal. {reason}"
    )
    heads = ["Entry", "Score", "Before", "After", "Difference", *(["p"] if tested else []), "n"]
    return TextTable("scores", caption, heads, rows, 2)


def _entry(row: dict[str, object]) -> str:
    """An entry's identity without the parts that are as usual."""
    parts = [str(row[key]) for key in KEYS]
    return " · ".join(part for part in (*parts[:3], parts[3], *parts[4:]) if part and part != "own")
