"""The papers' tables in LaTeX: main comparison, IoU by class, complexity, numbers of the papers, ablations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from datasets.files.places import resolved
from reports.cost_table import costs_table
from reports.figure_files import FIGURES, FOLDER, figure_name
from reports.headline import Headline, headline
from reports.latex import PACKAGES, document, escape, floating, label, row, score_cell, tabular
from reports.ledgers import ledger_table
from reports.tables import TextTable, board_tables, experiment_table
from reports.text import (
    MISSING,
    ONE_SEED,
    deviation_text,
    entry_key,
    entry_label,
    footnotes,
    has_several_seeds,
    percent,
    score_text,
    seeds_label,
    untested_statement,
)
from results.aggregate import (
    CONFUSION,
    KEYS,
    SCORES,
    Score,
    as_rows,
    board_names,
    confusion_pairs,
    per_class_iou,
    varying,
)
from results.changes import BOARD
from results.comparison import compare_with_papers
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.experiments import read_experiments
from results.explanations import read_ledgers
from results.intervals import LEVEL
from results.io import StoredRuns
from results.significance import Significance

_LONGEST_NAME = 40
"""Characters from which on a column of names wraps: a wider table would be shrunk beyond reading."""
_CLASSES_A_BLOCK = 22
"""Classes side by side before the per-class table goes on in a further block (VOC's 21 fit in one)."""

_MARKS = (
    "Bold: best without mask supervision and what does not differ from it significantly (bootstrap over images, "
    f"paired, and variance over seeds; Holm-corrected over all pairs, {100 * LEVEL:g}\\,\\%); "
    "underlined: the same among the rest."
)
_NO_MARKS = (
    "Nothing is marked: the run holds no resamples of its scores, so that differences cannot be tested."
)

Groups = Mapping[tuple[tuple[str, ...], str, str], int]
"""Group of significance by entry (`KEYS`), score and class."""


def tables(stored: StoredRuns, board: pd.DataFrame, found: Significance) -> str:
    """All tables of a run, to be read by `\\input`.

    board: its leaderboard
    """
    standings = found.standings
    groups = {
        (entry_key(r), r["score"], r["class_name"]): int(r["group"])
        for r in as_rows(standings[standings["group"] > 0])
    }
    per_class, papers = per_class_iou(stored.records), compare_with_papers(stored.records, stored.runs)
    cost = costs(stored, complexity_table(read_profiles(stored.path)))
    parts = [f"% Needs {PACKAGES}."]
    for _, part in board.groupby(BOARD, sort=False):
        parts.append(leaderboard_table(part, groups, headline(part, found)))
        if (table := costs_table(cost, part)) is not None:
            parts.append(text_table(table, *board_names(part)))
        here = per_class.merge(part[KEYS], on=KEYS)
        for score in SCORES:
            chosen = here[here["score"] == score.name]
            if not chosen.empty:
                parts.append(per_class_table(part, chosen, score, groups))
        parts += [
            text_table(table, *board_names(part)) for table in board_tables(stored, part, papers, found)
        ]
    parts += [text_table(ledger_table(*named)) for named in read_ledgers(stored.path).items()]
    parts += [text_table(experiment_table(experiment)) for experiment in read_experiments(stored.path)]
    return "\n\n".join(parts) + "\n"


def leaderboard_table(part: pd.DataFrame, groups: Groups, lead: Headline | None = None) -> str:
    """The main comparison of one leaderboard."""
    extra, pairs = varying(part), confusion_pairs(part)
    scores = [score for score in SCORES if (part[f"{score.name}_n"] > 0).any()]
    names = [*(score.name for score in scores), *(CONFUSION + pair for pair in pairs)]
    lines = []
    previous = None
    for entry in as_rows(part):
        kind = (
            "reference"
            if entry["status"] == "reference"
            else "masks"
            if entry["mask_supervised"]
            else "method"
        )
        if previous not in (None, kind):
            lines.append(r"\midrule")
        previous = kind
        seeds = str(entry["seeds"]) if entry["seeds"] and kind != "reference" else escape(seeds_label(entry))
        cells = [escape(entry_label(entry, extra)), escape(entry["supervision"]), seeds]
        for name in names:
            mean, deviation = (
                score_text(entry[f"{name}_mean"], name),
                deviation_text(entry[f"{name}_std"], name),
            )
            cells.append(score_cell(mean, deviation, groups.get((entry_key(entry), name, ""), 0)))
        lines.append(row(cells))
    where = escape(", ".join(board_names(part)))
    caption = (
        f"{where} protocol: mIoU in \\%, mean $\\pm$ sample standard deviation over {_n_statement(part)}. "
        if has_several_seeds(part)
        else f"{where} protocol: mIoU in \\%, {ONE_SEED}."
    )
    if has_several_seeds(part):
        marked = any(
            groups.get((entry_key(entry), score.name, "")) for entry in as_rows(part) for score in scores
        )
        caption += " ".join(filter(None, (_MARKS if marked else _NO_MARKS, untested_statement(part))))
    if lead is not None:
        caption += "".join(f" {escape(note)}" for note in lead.notes if has_several_seeds(part))
    if pairs:
        caption += " Right: context confusion ratio at the fixed threshold, lower is better."
    caption += "".join(f" {escape(note)}." for note in footnotes(part))
    body = tabular("llr" + "r" * len(names), _leaderboard_heads(scores, pairs), lines)
    return floating(body, caption, label("leaderboard", *board_names(part)))


def _leaderboard_heads(scores: Sequence[Score], pairs: Sequence[str]) -> list[str]:
    """Two header rows: what is scored on which split, then threshold rules and context pairs."""
    cams = [score for score in scores if score.stage == "cam"]
    others = [score for score in scores if score.stage != "cam"]
    above, names, rules = ["", "", ""], ["Method", "Sup.", "$n$"], []
    if cams:
        above.append(rf"\multicolumn{{{len(cams)}}}{{c}}{{CAM ({cams[0].split})}}")
        rules.append(rf"\cmidrule(lr){{4-{3 + len(cams)}}}")
        names += [escape(score.heading.removeprefix("CAM ")) for score in cams]
    above += [escape(score.title) for score in others]
    names += [f"({escape(score.split)})" for score in others]
    if pairs:
        first = 4 + len(scores)
        above.append(rf"\multicolumn{{{len(pairs)}}}{{c}}{{Confusion $\downarrow$}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + len(pairs) - 1}}}")
        names += [escape(pair.replace("|", "/")) for pair in pairs]
    return [row(above), *rules, row(names)]


def per_class_table(part: pd.DataFrame, per_class: pd.DataFrame, score: Score, groups: Groups) -> str:
    """IoU of every class at one stage, methods as rows; long class lists go on in further blocks."""
    extra = varying(part)
    values = {(entry_key(r), r["class_name"]): r["mean"] for r in as_rows(per_class)}
    scored = {entry for entry, _ in values}
    entries = [entry for entry in as_rows(part) if entry_key(entry) in scored]
    classes = list(dict.fromkeys(per_class["class_name"]))
    blocks = []
    for start in range(0, len(classes), _CLASSES_A_BLOCK):
        block = classes[start : start + _CLASSES_A_BLOCK]
        lines = []
        for entry in entries:
            key = entry_key(entry)
            cells = [
                score_cell(percent(values.get((key, c), math.nan)), "", groups.get((key, score.name, c), 0))
                for c in block
            ]
            lines.append(row([escape(entry_label(entry, extra)), *cells]))
        heads = ["Method", *(rf"\rotatebox{{90}}{{{escape(c)}}}" for c in block)]
        blocks.append(tabular("l" + "r" * len(block), [row(heads)], lines))
    where = escape(", ".join(board_names(part)))
    caption = (
        f"{where} protocol, {escape(score.title)} ({escape(score.split)}): IoU of every class in \\%, "
        + (
            f"mean over {_n_statement(part)}. Marked class by class as the main table."
            if has_several_seeds(part)
            else f"{ONE_SEED}."
        )
    )
    name = label("per-class", score.name, *board_names(part))
    return floating("\n\\\\[1ex]\n".join(blocks), caption, name)


def text_table(table: TextTable, *where: str) -> str:
    """A plain table; its remarks and long names may wrap."""
    numbers = len(table.heads) - table.text_columns - table.note_columns
    names = [
        _wrapped(0.32) if any(len(cells[n]) > _LONGEST_NAME for cells in table.rows) else "l"
        for n in range(table.text_columns)
    ]
    notes = _wrapped(0.5 / max(table.note_columns, 1)) * table.note_columns
    lines = [row([_cell(c) for c in cells]) for cells in table.rows]
    heads = [*_group_heads(table), row([escape(h) for h in table.heads])]
    body = tabular("".join(names) + "r" * numbers + notes, heads, lines)
    title = f"{escape(', '.join(where))} protocol: " if where else ""
    return floating(body, title + escape(table.caption), label(table.name, *where))


def _group_heads(table: TextTable) -> list[str]:
    """Headings over several columns of numbers, with a rule below each."""
    cells, rules, first = [""] * table.text_columns, [], table.text_columns + 1
    for title, count in table.groups:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{escape(title)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [row(cells), *rules] if table.groups else []


def _wrapped(share: float) -> str:
    """A column of that share of the line."""
    return rf">{{\raggedright\arraybackslash}}p{{{share:g}\linewidth}}"


def _cell(text: str) -> str:
    """A text cell; numbers with a deviation and differences as in the other tables."""
    if text == MISSING:
        return "--"
    mean, plus_minus, deviation = text.partition(" ± ")
    return score_cell(mean, deviation) if plus_minus else escape(text)


def _n_statement(part: pd.DataFrame) -> str:
    """`$n=3$ seeds`, or the range where entries differ."""
    counts: Any = part.loc[(part["status"] != "reference") & (part["seeds"] > 0), "seeds"]
    if counts.empty:
        return "$n=0$ seeds"
    low, high = counts.min(), counts.max()
    if low != high:
        return f"$n={low}$ to {high} seeds"
    return f"$n={low}$ seed" if low == 1 else f"$n={low}$ seeds"


def document_of(stored: StoredRuns, board: pd.DataFrame) -> str:
    """A document that reads `tables.tex` and shows the figures that lie beside it."""
    figures = []
    for _, part in board.groupby(BOARD, sort=False):
        names = board_names(part)
        for kind, what in FIGURES.items():
            what += "; bars: the deviation over seeds" if kind == "stages" and has_several_seeds(part) else ""
            figures.append(
                (f"{FOLDER}/{figure_name(kind, names)}.pdf", escape(f"{', '.join(names)}: {what}."))
            )
    finished = max((str(run["provenance"].get("finished", "")) for run in stored.runs), default="")
    return document(f"Run {resolved(stored.path).name}", finished, figures)
