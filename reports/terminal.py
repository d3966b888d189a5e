"""The leaderboard in the terminal, scores and then costs, by rich; fits 80 columns, shows more where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reports.cost_table import cost_notes, figure, of_board, shown_columns
from reports.headline import headline
from reports.inspection import written
from reports.text import (
    ONE_SEED,
    entry_key,
    entry_label,
    footnotes,
    has_several_seeds,
    mean_and_deviation,
    points,
    score_text,
    seeds_label,
    untested_statement,
)
from results.aggregate import (
    CHOSEN_WITH_MASKS,
    CONFUSION,
    SCORES,
    as_rows,
    board_names,
    confusion_pairs,
    leaderboard,
    varying,
)
from results.changes import BOARD, shared_changes
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.inspection import GIVEN, inspection_metrics
from results.io import StoredRuns
from results.significance import Significance, significance

_WIDE = 110
"""Columns from which the tuned threshold, the gap to mask supervision and the confusion ratios are shown."""

_HEADINGS = {
    "cam_fixed": "CAM\nfixed",
    "cam_tuned": f"CAM\ntuned{CHOSEN_WITH_MASKS}",
    "cam_oracle": f"CAM\noracle{CHOSEN_WITH_MASKS}",
    "pseudo_label": "Pseudo-\nlabel",
    "segmentation": "Segmen-\ntation",
}

_INSPECTED = (
    "In %, predictions on val; escapes: defective images that pass, overkill: good ones that are rejected"
)

_COST_HEADINGS = {
    "cam_macs_g": "CAM\nMACs\nG",
    "cam_macs_attention_g": "\n+prod-\nucts",
    "cam_parameters_m": "\nParams\nM",
    "cam_images_per_second": "\nimg\n/s",
    "segmentation_macs_g": "Segm.\nMACs\nG",
    "segmentation_macs_attention_g": "\n+prod-\nucts",
    "segmentation_parameters_m": "\nParams\nM",
    "segmentation_images_per_second": "\nimg\n/s",
    "inference_host_memory_mb": "Infer-\nence\nMB",
    "inference_device_memory_mb": "Infer-\nence\nGPU MB",
    "training_minutes": "Train-\ning\nmin",
    "minutes": "All\nstages\nmin",
    "host_memory_mb": "Peak\nmem.\nMB",
    "device_memory_mb": "Peak\nmem.\nGPU MB",
}


_INSPECTION_HEADINGS = {
    ("image_auroc", "max"): "Image\nAUROC",
    ("escapes_at_overkill", f"max|{GIVEN}"): "Escapes\nat 5 %\noverkill",
    ("overkill_at_escapes", f"max|{GIVEN}"): "Overkill\nat 5 %\nescapes",
    ("escapes", ""): "Esca-\npes",
    ("overkill", ""): "Over-\nkill",
    ("defects_found", ""): "Defects\nfound",
    ("alarms_per_good_part", ""): "Alarms/\ngood\npart",
    ("aupro", ""): "AUPRO",
}


def print_leaderboard(stored: StoredRuns, console: Console | None = None, baseline: str = "") -> None:
    """Print the run's leaderboard; reference rows dim, reasons of missing entries below."""
    console = console or Console()
    if not stored.runs and stored.records.empty:
        console.print(Text(f"{stored.path}: the run is empty, there is nothing to show yet"))
        return
    board = leaderboard(stored.records, stored.runs)
    cost = costs(stored, complexity_table(read_profiles(stored.path)))
    inspected = inspection_metrics(stored.records)
    for part in render(board, significance(stored, board, baseline), console.width, cost, inspected):
        console.print(part, soft_wrap=False)  # which would cut what is long below the table


def render(
    board: pd.DataFrame,
    found: Significance,
    width: int,
    cost: pd.DataFrame | None = None,
    inspected: pd.DataFrame | None = None,
) -> Iterator[RenderableType]:
    """Rich renderables of a leaderboard: for each leaderboard a table and the reasons below it, and tables of verdicts
    and of costs where there are any.

    bold is the first group, as in the LaTeX tables; cost: `results.costs.costs`; inspected:
    `results.inspection.inspection_metrics`
    """
    total = found.standings[found.standings["class_name"] == ""]
    groups = {(entry_key(row), row["score"]): int(row["group"]) for row in as_rows(total)}
    for _, part in board.groupby(BOARD, sort=False):
        name, scale, protocol = board_names(part)
        yield Text(f"{name} · {scale} · {protocol} protocol", style="bold")
        given = "mean±SD over n seeds" if has_several_seeds(part) else ONE_SEED
        yield Text(f"mIoU in %, {given}; segmentation on val, the rest on train", style="dim")
        if shared := shared_changes(part):
            yield Text(f"with {', '.join(shared)}", style="dim")
        if any(groups.get((entry_key(row), score.name)) for row in as_rows(part) for score in SCORES):
            said = "bold: the best, and what does not differ from it significantly."
            yield Text(f"{said} {untested_statement(part)}".rstrip(". "), style="dim")
        yield _table(part, groups, width)
        if (lead := headline(part, found)) is not None:
            yield Padding(Text(" ".join((lead.best, *lead.notes))), (0, 0, 1, 2))
        for row in as_rows(part[part["reason"] != ""]):
            style = "red" if row["status"] == "failed" else "yellow"
            label = entry_label(row, varying(part))
            yield Padding(
                Text.assemble((f"{label}: {row['status']}: ", style), (row["reason"], "")), (0, 0, 0, 2)
            )
        for note in footnotes(part):
            yield Padding(Text(note, style="dim"), (0, 0, 0, 2))
        yield Text("")
        if inspected is not None and (table := _inspection_table(inspected, part)) is not None:
            yield table
            yield Padding(Text(_INSPECTED, style="dim"), (0, 0, 1, 2))
        if cost is not None and (table := _cost_table(cost, part, width)) is not None:
            yield table
            for note in cost_notes(cost, part):
                yield Padding(Text(note, style="dim"), (0, 0, 0, 2))
            yield Text("")


def _table(part: pd.DataFrame, groups: Mapping[tuple[tuple[str, ...], str], int], width: int) -> Table:
    wide = width >= _WIDE
    extra = varying(part)
    scores = [score for score in SCORES if wide or score.name != "cam_tuned"]
    pairs = confusion_pairs(part) if wide else []
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False
    )
    table.add_column("Method", min_width=8, overflow="fold")  # gives way, so that no number is cut
    table.add_column("Sup.", no_wrap=True)
    table.add_column("", no_wrap=True, style="dim")
    for score in scores:
        table.add_column(_HEADINGS[score.name], justify="right", no_wrap=True)
    if wide:
        table.add_column("Δ to\nmasks", justify="right", no_wrap=True)
    for pair in pairs:
        table.add_column(Text("confusion\n" + pair), justify="right", no_wrap=True)
    for row in as_rows(part):
        cells: list[RenderableType] = [Text(entry_label(row, extra)), row["supervision"], seeds_label(row)]
        for score in scores:
            leads = groups.get((entry_key(row), score.name)) == 1
            cells.append(Text(mean_and_deviation(row, score.name, "±"), style="bold" if leads else ""))
        if wide:
            cells.append(points(row["segmentation_gap"]))
        cells += [score_text(row[f"{CONFUSION}{pair}_mean"], CONFUSION) for pair in pairs]
        table.add_row(*[_plain(cell) for cell in cells], style=_row_style(row))
    return table


def _inspection_table(inspected: pd.DataFrame, part: pd.DataFrame) -> Table | None:
    """Of predictions on val; None where none was inspected."""
    values = {
        (entry_key(row), row["metric"], row["class_name"]): row
        for row in as_rows(inspected[inspected["score"] == SCORES[-1].name])
    }
    columns = [c for c in _INSPECTION_HEADINGS if any(key[1:] == c for key in values)]
    rows = [row for row in as_rows(part) if any((entry_key(row), *c) in values for c in columns)]
    if not rows:
        return None
    extra = varying(part)
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False
    )
    table.add_column("Good or not", min_width=8, overflow="fold")
    for column in columns:
        table.add_column(Text(_INSPECTION_HEADINGS[column]), justify="right", no_wrap=True)
    for row in rows:
        cells = (written(values.get((entry_key(row), *column))) for column in columns)
        table.add_row(Text(entry_label(row, extra)), *map(Text, cells))
    return table


def _cost_table(cost: pd.DataFrame, part: pd.DataFrame, width: int) -> Table | None:
    """None where nothing is known of what the entries cost."""
    entries = of_board(cost, part)
    columns = [c for c in shown_columns([row for _, row in entries]) if c.brief or width >= _WIDE]
    names = {column.name for column in columns}
    # of the memory the GPU's, where there is one
    columns = [c for c in columns if c.name.replace("host", "device") not in names - {c.name}]
    if not columns:
        return None
    extra = varying(part)
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False
    )
    table.add_column("Costs", min_width=8, overflow="fold")
    for column in columns:
        table.add_column(Text(_COST_HEADINGS[column.name]), justify="right", no_wrap=True)
    for row, costs_of in entries:
        table.add_row(Text(entry_label(row, extra)), *(Text(figure(costs_of, c)) for c in columns))
    return table


def _plain(cell: Any) -> Text:
    """Names are shown as they are, never read as rich's markup."""
    return cell if isinstance(cell, Text) else Text(str(cell))


def _row_style(row: dict[str, Any]) -> str:
    return "dim" if row["status"] == "reference" else ""
