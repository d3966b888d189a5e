"""A profile in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from benchmark.console import console
from results.aggregate import as_rows
from results.complexity import complexity_table
from results.io import StoredRuns, read_run

MISSING = "–"
NOTES = (
    "MACs of one image over linear and convolution layers; +products: with those of attention and other "
    "activations. What follows a network (CRF, random walk, correction) is in the times, not in the MACs.",
    "ms: median ± interquartile range of a pass of one image after a warm-up; best: images/s at that batch size. "
    "MB: the network and what a pass adds at its peak, on the GPU if there is one, else in the process.",
    "Weights are random, pictures too, with {present} classes each; precision is float32.",
)


def print_profile(folder: Path, methods: Sequence[str]) -> None:
    """Print a profile's rows of these methods, and why others have none."""
    from benchmark.profiling.speed import PRESENT

    stored = read_run(folder)
    runs = [run for run in stored.runs if run["method"] in methods]
    runs.sort(key=lambda run: methods.index(run["method"]))
    rows = as_rows(complexity_table([StoredRuns(stored.records, runs, folder)]))
    if rows:
        console.print(f"\n{rows[0]['dataset']} · {rows[0]['scale']} · {rows[0]['hardware']}", style="bold")
        timed = any(not math.isnan(row["host_memory_mb"]) for row in rows)
        console.print(_table(rows, timed))
        for note in NOTES if timed else NOTES[:1]:
            console.print(note.format(present=PRESENT), style="dim", markup=False)
    for line in dict.fromkeys(_reasons(runs)):
        console.print(line, markup=False)


def _table(rows: Sequence[dict[str, Any]], timed: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Network, what is covered, size", min_width=20, overflow="fold")
    headings = ["MACs\nG", "+prod-\nucts", "Params\nM"]
    for heading in (*headings, *(("ms", "img/s", "best\n(batch)", "MB") if timed else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    above = None
    for row in rows:
        entry = f"{row['title']} ({row['changes']})" if row["changes"] else row["title"]
        if entry != above:
            above = entry
            table.add_row(Text(entry, style="bold"))
        counts = [number(row[name]) for name in ("macs_g", "macs_attention_g", "parameters_m")]
        name = Text(f"  {row['network']}: {row['covers']}, {row['size']}")
        table.add_row(name, *counts, *(_measured(row) if timed else ()))
    return table


def _measured(row: dict[str, Any]) -> tuple[str, ...]:
    device = row["device_memory_mb"]
    memory = row["host_memory_mb"] if math.isnan(device) else device
    return _milliseconds(row), number(row["images_per_second"]), _best(row), number(memory)


def _milliseconds(row: dict[str, Any]) -> str:
    if math.isnan(row["seconds"]):
        return MISSING
    return f"{number(1000 * row['seconds'])}±{number(1000 * row['seconds_iqr'])}"


def _best(row: dict[str, Any]) -> str:
    if math.isnan(row["best_batch"]):
        return MISSING
    return f"{number(row['images_per_second_best'])} ({row['best_batch']:.0f})"


def number(value: float) -> str:
    """Three significant digits, but no fewer before the point: 0.0123, 1.23, 12.3, 1230."""
    if math.isnan(value):
        return MISSING
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 4)}f}"


def _reasons(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    for run in runs:
        if run["status"] != "done":
            yield f"{run['method']}: {run['status']}: {run['reason']}"
        for forward_pass in run["stages"]:
            if forward_pass["reason"]:
                yield f"{run['method']}: {forward_pass['network']}: {forward_pass['covers']}: {forward_pass['reason']}"
