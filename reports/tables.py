"""Plain tables of a run as text cells, for LaTeX and Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from results.complexity import PROFILED, TIME, complexity

from reports.text import MISSING, entry_key, entry_label, mean_and_deviation, points
from results.aggregate import KEYS, SCORES, as_rows, varying
from results.experiments import Experiment

_STAGES = {score.stage: score.title.split()[0] for score in SCORES}


@dataclass(frozen=True)
class TextTable:
    """name: for labels; caption: one sentence or two; heads, rows: cells as text; text_columns: how many of the
    first columns are names and not numbers; note_columns: how many of the last are remarks"""

    name: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    note_columns: int = field(default=0)


def complexity_table(records: pd.DataFrame, part: pd.DataFrame) -> TextTable | None:
    """Cost of the entries of one board; None where nothing was measured."""
    here = _of_board(complexity(records), part)
    shown = [c for c in (*PROFILED, TIME) if here[c].notna().any()]
    if not shown:
        return None
    extra = varying(part)
    variants = here["variant"].nunique() > 1
    rows = []
    by_entry = {key: list(group) for key, group in _grouped(as_rows(here))}
    for entry in as_rows(part):
        for cost in by_entry.get(entry_key(entry), []):
            cells = [entry_label(entry, extra), *([str(cost["variant"])] if variants else [])]
            rows.append([*cells, *(_quantity(cost[c]) for c in shown)])
    heads = [
        "Method",
        *(["covers"] if variants else []),
        *((PROFILED | {TIME: "time (min)"})[c] for c in shown),
    ]
    caption = "Complexity. Time is that of all stages of one seed, on the machine that ran them."
    return TextTable("complexity", caption, heads, rows, 2 if variants else 1)


def papers_table(comparison: pd.DataFrame, part: pd.DataFrame) -> TextTable | None:
    """Numbers of the papers beside those measured; None where no paper prints any."""
    here = _of_board(comparison, part)
    here = here[here["reported"].notna()]
    if here.empty:
        return None
    labels = {entry_key(row): entry_label(row, varying(part)) for row in as_rows(part)}
    rows = []
    for row in as_rows(here):
        measured = mean_and_deviation({"x_mean": row["measured"], "x_std": row["std"]}, "x")
        remark = row["note"] if row["comparable"] else f"not comparable: {row['reason']}"
        rows.append(
            [
                labels[entry_key(row)],
                f"{_STAGES.get(row['stage'], row['stage'])} ({row['split']})",
                f"{row['printed']:g}",
                measured,
                points(row["difference"]),
                row["where"],
                remark,
            ]
        )
    heads = ["Method", "Score", "Paper", "Here", "Difference", "Printed in", "Remark"]
    caption = (
        "Numbers of the papers beside ours (mIoU in percent). CAMs at the oracle threshold, which is what most "
        "papers print. A difference is given only where data set, split, protocol and network are the same."
    )
    return TextTable("papers", caption, heads, rows, 2, 2)


def experiment_table(experiment: Experiment) -> TextTable:
    """An ablation: for each column of it the paper's number and ours."""
    table = experiment.table
    columns = list(dict.fromkeys(table["column"]))
    rows = []
    for label in dict.fromkeys(table["row"]):
        cells = [str(label)]
        for column in columns:
            found = as_rows(table[(table["row"] == label) & (table["column"] == column)])
            cell = found[0] if found else {"paper": math.nan, "mean": math.nan, "deviation": math.nan}
            # tables of experiments are in percent
            cells.append(_two_digits(cell["paper"]))
            scored = {"x_mean": cell["mean"] / 100, "x_std": cell["deviation"] / 100}
            cells.append(mean_and_deviation(scored, "x"))
        rows.append(cells)
    heads = ["", *(f"{column}, {what}" for column in columns for what in ("paper", "here"))]
    return TextTable(
        f"experiment-{experiment.name}", f"{experiment.title}. {experiment.conditions}.", heads, rows
    )


def _grouped(rows: Sequence[dict[str, Any]]) -> list[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(entry_key(row), []).append(row)
    return list(groups.items())


def _of_board(table: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    entries = part[KEYS].drop_duplicates()
    chosen: pd.DataFrame = table.merge(entries, on=KEYS)
    return chosen


def _quantity(value: float) -> str:
    """Three significant digits."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _two_digits(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else MISSING
