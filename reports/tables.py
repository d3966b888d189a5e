"""Plain tables of a run as text cells, for LaTeX and Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from reports.inspection import EXPLAINED, inspection_tables, with_deviation
from reports.text import MISSING, entry_key, entry_label, mean_and_deviation, points
from results.aggregate import KEYS, SCORES, as_rows, stage_title, varying
from results.complexity import STAGE, complexity_table, read_profiles
from results.experiments import Experiment
from results.further import CLASSIFIER, COLUMNS, further_metrics
from results.inspection import inspection_metrics
from results.io import StoredRuns
from results.reported import reported_of
from results.significance import Significance

_PROFILED = {
    "macs_g": "MACs (G)",
    "macs_attention_g": "+ products",
    "parameters_m": "Params (M)",
    "seconds": "time (ms)",
    "images_per_second": "images/s",
    "images_per_second_best": "in batches",
    "host_memory_mb": "memory (MB)",
    "device_memory_mb": "GPU memory (MB)",
}
_CONVENTIONS = ("macs_g", "macs_attention_g", "parameters_m")
_COUNTED = (
    "Complexity of one image of the size. MACs: multiply-accumulates over linear and convolution layers alone; "
    "+ products: with those of attention and other products of activations. What follows a network (CRF, random "
    "walk, correction) is not counted."
)
_MEASURED = (
    "Measured on {hardware}, random weights, precision {precision}. Time: median ± interquartile range over passes "
    "of one image after a warm-up, with what follows the network; images/s: of one image at a time, and in "
    "batches of the best size (in brackets); memory: of the network and of one pass."
)


@dataclass(frozen=True)
class TextTable:
    """name: for labels; caption: one sentence or two; heads, rows: cells as text; text_columns: how many of the
    first columns are names and not numbers; note_columns: how many of the last are remarks; groups: headings over
    the columns of numbers, each with how many they are, () for none"""

    name: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    note_columns: int = field(default=0)
    groups: Sequence[tuple[str, int]] = ()


def board_tables(
    stored: StoredRuns, part: pd.DataFrame, comparison: pd.DataFrame, significance: Significance
) -> list[TextTable]:
    """All plain tables of one leaderboard that there are numbers for, but the costs beside it."""
    profiles = complexity_tables(complexity_table(read_profiles(stored.path)), part)
    found = (
        baseline_table(significance, part),
        *inspection_text_tables(stored, part),
        further_table(stored, part),
        classifier_table(stored, part),
        *map(_without_repeats, profiles),
        papers_table(comparison, part),
    )
    return [table for table in found if table is not None]


def baseline_table(significance: Significance | None, part: pd.DataFrame) -> TextTable | None:
    """Differences of one board's entries from the baseline that they were tested against; None without one."""
    if significance is None or not significance.baseline:
        return None
    labels, rows = _labels(part), []
    for row in as_rows(significance.pairs[significance.pairs["class_name"] == ""]):
        a, b = row["a"], row["b"]
        if a not in labels or b not in labels:
            continue
        sign = -1 if a[KEYS.index("method")] == significance.baseline else 1
        ends = sorted((sign * row["low"], sign * row["high"]))
        score = next(s for s in SCORES if s.name == row["score"])
        rows.append(
            [
                labels[a if sign > 0 else b],
                labels[b if sign > 0 else a],
                f"{score.title} ({score.split})",
                points(sign * row["difference"]),
                f"{points(ends[0])} to {points(ends[1])}",
                f"{row['p_holm']:.3f}",
                str(row["n"]),
            ]
        )
    heads = ["Method", "Against", "Score", "Difference", "95 % interval", "p (Holm)", "n"]
    caption = (
        f"Differences from {significance.baseline} (mIoU in points), tested by a paired bootstrap over images and the "
        "variance over seeds; p is adjusted over the differences of a score. Nothing else is tested or ranked."
        if rows
        else f"No difference from {significance.baseline} could be tested: that takes two seeds and the same images."
    )
    return TextTable("baseline", caption, heads, rows, 3)


def further_table(stored: StoredRuns, part: pd.DataFrame) -> TextTable | None:
    """Boundaries and subsets of one board's entries, a row a method and score; None where nothing was scored."""
    here = _of_board(further_metrics(stored.records), part)
    values = {(entry_key(r), r["score"], r["metric"], r["class_name"]): r for r in as_rows(here)}
    columns = [column for column in COLUMNS if any(key[2:] == column for key in values)]
    if not columns:
        return None
    labels, rows = _labels(part), []
    for key in map(entry_key, as_rows(part)):
        for score in SCORES:
            cells = [values.get((key, score.name, *column)) for column in columns]
            if any(cells):
                texts = (_with_deviation(cell) if cell else MISSING for cell in cells)
                rows.append([labels[key], f"{score.title} ({score.split})", *texts])
    caption = (
        "Class-agnostic boundaries, mIoU of regions by their share of the image (small below 10 %, large from 25 %) "
        "and of images by the number of classes in them, in percent. CAMs at the method's fixed threshold."
    )
    return TextTable(
        "boundaries-and-sizes", caption, ["Method", "Score", *(COLUMNS[c] for c in columns)], rows, 2
    )


def inspection_text_tables(stored: StoredRuns, part: pd.DataFrame) -> list[TextTable]:
    """Verdicts on images and single defects of one board's entries, where they were scored."""
    labels, found = _labels(part), []
    for table in inspection_tables(
        inspection_metrics(stored.records), [entry_key(row) for row in as_rows(part)]
    ):
        typed = table.kind == "confusion"
        rows = [
            [labels[key], *([true] if typed else []), *map(with_deviation, cells)]
            for key, true, cells in table.rows
        ]
        found.append(
            TextTable(
                f"inspection-{table.kind}-{table.score.name}",
                f"{table.score.title} ({table.score.split}). {EXPLAINED[table.kind]}",
                ["Method", *(["Type"] if typed else []), *table.heads],
                rows,
                2 if typed else 1,
            )
        )
    return found


def classifier_table(stored: StoredRuns, part: pd.DataFrame) -> TextTable | None:
    """Accuracy of the image classifiers of one leaderboard; None where no method has one. `tables/` has every class."""
    here = _of_board(further_metrics(stored.records), part)
    here = here[(here["score"] == CLASSIFIER) & (here["class_name"] == "") & here["n"].gt(0)]
    if here.empty:
        return None
    found = {entry_key(row): row for row in as_rows(here)}
    labels = _labels(part)
    rows = [
        [labels[key], _with_deviation(found[key])] for key in map(entry_key, as_rows(part)) if key in found
    ]
    caption = "Mean average precision of the image classifiers on val, in percent."
    return TextTable("classifiers", caption, ["Method", "mAP"], rows)


def complexity_tables(profiles: pd.DataFrame, part: pd.DataFrame) -> list[TextTable]:
    """Operations, parameters, speed and memory of the networks of one board's methods, one table a hardware.

    At paper scale what papers print of a method follows its networks.

    profiles: `results.complexity.complexity_table`
    """
    board = [key for key in KEYS if key != "changes"]
    here = profiles.merge(part[board].drop_duplicates(), on=board)
    labels = _labels(part)
    tables = []
    for hardware, found in here.groupby("hardware", sort=False):
        shown = [column for column in _PROFILED if found[column].notna().any()]
        rows, untimed = [], []
        remarks: list[str] = []
        last = {entry_key(row): number for number, row in enumerate(as_rows(found))}
        for number, row in enumerate(as_rows(found)):
            # profiled with other settings than any entry of the leaderboard was run with
            label = labels.get(entry_key(row), f"{row['title']} ({row['changes'] or 'default settings'})")
            covered = f"{row['network']}: {row['covers']}"
            rows.append([label, covered, str(row["size"]), *(_profiled(row, column) for column in shown)])
            untimed += [f"{label}, {covered}: {row['reason']}."] if row["reason"] else []
            if row["scale"] == "paper" and last[entry_key(row)] == number:
                printed, said = _printed(row["reported_as"])
                remarks += said
                for where, values in printed.items():
                    cells = (quantity(values.get(column, math.nan)) for column in shown)
                    rows.append([label, f"as printed in {where}", "", *cells])
        notes = [_COUNTED, *([_MEASURED.format(**found.iloc[0])] if len(shown) > len(_CONVENTIONS) else [])]
        heads = ["Method", "Network and what is covered", "Size", *(_PROFILED[column] for column in shown)]
        caption = " ".join([*notes, *untimed, *dict.fromkeys(remarks)])
        tables.append(TextTable(f"complexity-{hardware}", caption, heads, rows, 3))
    return tables


def _printed(name: str) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Operations and parameters that papers print of a method, where -> metric -> value, and remarks on the former."""
    found: dict[str, dict[str, float]] = {}
    remarks = []
    for number in reported_of(name) if name else ():
        if number.stage == STAGE and number.metric in _CONVENTIONS:
            where = f"{number.paper}, {number.table}"
            found.setdefault(where, {})[number.metric] = number.value
            if number.note and number.metric != "parameters_m":
                remarks.append(f"{where}, {number.column}: {number.note}.")
    return found, remarks


def _profiled(row: Mapping[str, Any], column: str) -> str:
    if column == "seconds" and math.isfinite(row[column]):
        median = quantity(1000 * row[column])
        decimals = len(median.partition(".")[2])
        return f"{median} ± {1000 * row['seconds_iqr']:.{decimals}f}"
    if column == "images_per_second_best" and math.isfinite(row[column]):
        return f"{quantity(row[column])} ({row['best_batch']:.0f})"
    return quantity(row[column])


def _without_repeats(table: TextTable) -> TextTable:
    """The first column only where it changes."""
    above = [None, *(row[0] for row in table.rows)]
    rows = [["" if row[0] == before else row[0], *row[1:]] for row, before in zip(table.rows, above)]
    return replace(table, rows=rows)


def papers_table(comparison: pd.DataFrame, part: pd.DataFrame) -> TextTable | None:
    """Numbers of the papers beside those measured; None where no paper prints any."""
    here = _of_board(comparison, part)
    here = here[here["reported"].notna()]
    if here.empty:
        return None
    labels = _labels(part)
    rows = []
    for row in as_rows(here):
        measured = mean_and_deviation({"x_mean": row["measured"], "x_std": row["std"]}, "x")
        remark = row["note"] if row["comparable"] else f"not comparable: {row['reason']}"
        rows.append(
            [
                labels[entry_key(row)],
                f"{stage_title(row['stage'])} ({row['split']})",
                row["where"],
                f"{row['printed']:.1f}",
                measured,
                points(row["difference"]),
                remark,
            ]
        )
    heads = ["Method", "Score", "Printed in", "Paper", "Here", "Difference", "Remark"]
    caption = (
        "Numbers of the papers beside ours (mIoU in percent). CAMs at the oracle threshold, which is what most "
        "papers print. A difference is given only where data set, split, protocol and network are the same."
    )
    return TextTable("papers", caption, heads, rows, 3, 1)


def experiment_table(experiment: Experiment) -> TextTable:
    """An ablation: for each column of it the paper's number and ours, then the seeds and why there is no number."""
    table = experiment.table
    columns = list(dict.fromkeys(table["column"]))
    rows = []
    for label in dict.fromkeys(table["row"]):
        cells = [str(label)]
        for column in columns:
            found = as_rows(table[(table["row"] == label) & (table["column"] == column)])
            cell = found[0] if found else {"paper": math.nan, "mean": math.nan, "deviation": math.nan}
            # in percent or hours, of which a miniature's are few
            for mean, deviation in ((cell["paper"], math.nan), (cell["mean"], cell["deviation"])):
                scored = {"x_mean": mean / 100, "x_std": deviation / 100}
                cells.append(f"{mean:.2g}" if 0 < mean < 0.1 else mean_and_deviation(scored, "x"))
        own = table[table["row"] == label]
        seeds, reason = int(own["seeds"].max()), str(own["reason"].iloc[0])
        rows.append([*cells, str(seeds) if seeds else MISSING, reason])
    heads = ["", *(f"{column}, {what}" for column in columns for what in ("paper", "here")), "n", "Remark"]
    notes = 1
    if not any(row[-1] for row in rows):
        heads, rows, notes = heads[:-1], [row[:-1] for row in rows], 0
    caption = f"{experiment.title}. {experiment.conditions}."
    return TextTable(f"experiment-{experiment.name}", caption, heads, rows, note_columns=notes)


def _labels(part: pd.DataFrame) -> dict[tuple[str, ...], str]:
    extra = varying(part)
    return {entry_key(row): entry_label(row, extra) for row in as_rows(part)}


def _of_board(table: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    entries = part[KEYS].drop_duplicates()
    chosen: pd.DataFrame = table.merge(entries, on=KEYS)
    return chosen


def quantity(value: float) -> str:
    """Three significant digits, but no fewer before the point."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def _with_deviation(row: Mapping[str, Any]) -> str:
    return mean_and_deviation({"x_mean": row["mean"], "x_std": row["std"]}, "x")
