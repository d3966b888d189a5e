"""The whole report in Markdown: leaderboards and the plain tables."""

from __future__ import annotations

from itertools import zip_longest

import pandas as pd

from reports.cost_table import costs_table
from reports.headline import headline
from reports.ledgers import ledger_table
from reports.reproduction import directions_table
from reports.tables import TextTable, board_tables, experiment_table
from reports.text import markdown_leaderboard, markdown_row, markdown_text
from results.aggregate import board_names
from results.changes import BOARD
from results.comparison import compare_with_papers
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.directions import read_directions
from results.experiments import EXPERIMENTS_FOLDER, read_experiments
from results.explanations import read_ledgers
from results.io import StoredRuns
from results.significance import Significance


def render(stored: StoredRuns, board: pd.DataFrame, found: Significance) -> str:
    """Leaderboards with ranks and costs, what the papers print, complexity and ablations."""
    papers = compare_with_papers(stored.records, stored.runs)
    cost = costs(stored, complexity_table(read_profiles(stored.path)))
    parts, further = [], []
    for _, part in board.groupby(BOARD, sort=False):
        title = ", ".join(board_names(part)) + " protocol"
        parts.append(markdown_leaderboard(part, found.standings))
        if (lead := headline(part, found)) is not None:
            parts.append(markdown_text(" ".join((lead.best, *lead.notes))) + "\n")
        if (beside := costs_table(cost, part)) is not None:
            parts.append(table(beside, title))
        further += [table(each, title) for each in board_tables(stored, part, papers, found)]
    parts += further
    parts += [
        table(ledger_table(*named), "Where a gain comes from") for named in read_ledgers(stored.path).items()
    ]
    directions = read_directions(stored.path / EXPERIMENTS_FOLDER)
    parts += [] if directions.empty else [table(directions_table(directions), "What reproduces")]
    parts += [table(experiment_table(experiment), "Ablation") for experiment in read_experiments(stored.path)]
    return "\n".join(parts)


def table(found: TextTable, title: str) -> str:
    """A plain table under a heading of its own; a group's title stands before each of its columns'."""
    numbers = len(found.heads) - found.text_columns - found.note_columns
    rule = "|" + "---|" * found.text_columns + "---:|" * numbers + "---|" * found.note_columns
    lines = [f"## {markdown_text(title)}: {markdown_text(found.name)}", "", markdown_text(found.caption), ""]
    of = [*[""] * found.text_columns, *(title for title, count in found.groups for _ in range(count))]
    heads = [
        f"{title}: {head}" if title else head for title, head in zip_longest(of, found.heads, fillvalue="")
    ]
    return "\n".join([*lines, markdown_row(heads), rule, *map(markdown_row, found.rows)]) + "\n"
