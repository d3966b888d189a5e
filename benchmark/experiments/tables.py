"""The table of an experiment that has run, as a file and in the terminal, with the conditions it was run under."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.console import console
from benchmark.experiments.measured import HOURS, Measured, score_parts
from results.experiments import Experiment as ExperimentTable
from results.experiments import write_experiment

if TYPE_CHECKING:
    from benchmark.experiments.table import Options, Table
    from methods.experiment import Experiment

_METRICS = {"miou": "mIoU", "iou": "IoU"}


def write_table(
    measured: Sequence[Measured], reasons: Sequence[str], table: Table, options: Options, folder: Path
) -> None:
    """Write the table as CSV, with every threshold rule."""
    import pandas as pd

    why = dict(zip((row.label for row in table.experiment.rows), reasons, strict=True))
    frame = pd.DataFrame(
        {
            "row": [m.row for m in measured],
            "column": [m.column for m in measured],
            "threshold rule": [m.variant for m in measured],
            "paper": [m.reported for m in measured],
            "mean": [round(m.mean, 4) for m in measured],
            "deviation": [round(m.deviation, 4) for m in measured],
            "seeds": [len(m.values) for m in measured],
            "reason": [why[m.row] for m in measured],
        }
    )
    title = f"{table.method.title}: {table.experiment.title}"
    conditions = _caption(measured, table, options)
    write_experiment(folder, ExperimentTable(table.file_name, title, conditions, frame))


def print_table(measured: Sequence[Measured], table: Table, options: Options) -> None:
    """The table in the terminal: what was measured beside the paper's numbers."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(f"{table.method.title}: {table.experiment.title}"),
        caption=Text(_caption(measured, table, options)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    shown.add_column("")
    for column in table.experiment.columns:
        shown.add_column(f"{column}\npaper", justify="right", style="dim", overflow="fold")
        shown.add_column(f"{column}\nhere", justify="right", overflow="fold")
    cells = {(m.row, m.column): m for m in measured if m.is_compared}
    for row, job in zip(table.experiment.rows, table.jobs, strict=True):
        line = [Text(row.label)]
        for column in table.experiment.columns:
            cell = cells[row.label, column]
            spread = f" ±{cell.deviation:.1f}" if len(cell.values) > 1 else ""
            line.append(Text("–" if cell.reported is None else f"{cell.reported:.2f}"))
            line.append(Text("–" if math.isnan(cell.mean) else f"{cell.mean:.2f}{spread}"))
        shown.add_row(*line)
        if isinstance(job, str):
            console.print(f"{row.label}: not available: {job}", markup=False)
    console.print(shown)


def _caption(measured: Sequence[Measured], table: Table, options: Options) -> str:
    seeds = ", ".join(map(str, options.seeds))
    by_rule = {
        rule: dict.fromkeys(m.column for m in measured if m.values and m.is_compared and m.variant == rule)
        for rule in ("oracle", "fixed")
    }
    # where no CAM is scored there is no threshold
    thresholds = [
        f"{', '.join(columns)} at the {rule} threshold" for rule, columns in by_rule.items() if columns
    ]
    return (
        f"{_metrics(table.experiment)}; paper: {table.experiment.dataset}; here: "
        f"{options.dataset} at scale {options.scale}, seeds {seeds}"
        + "".join(f"; {each}" for each in thresholds)
        + (f"; changed: {table.conditions}" if table.conditions else "")
    )


def _metrics(experiment: Experiment) -> str:
    found = {score_parts(score)[1] for row in experiment.rows for score in row.scores}
    names = sorted(_METRICS.get(metric, metric.replace("_", " ")) for metric in found - {HOURS})
    return ", ".join([*([f"{', '.join(names)} in %"] if names else []), *([HOURS] if HOURS in found else [])])
