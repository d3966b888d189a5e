"""What the experiments of a run folder say together: files, the report's section, and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.console import console
from benchmark.experiments.diagnoses import FILE

if TYPE_CHECKING:
    import pandas as pd


def write_summary(run_dir: Path, experiments: Sequence[str]) -> None:
    """Write the summary of all experiments of the folder, and print that of those just run.

    Where the folder has a leaderboard, its reports are made again, with the tables and the summary in them.
    """
    from reports import build_reports, experiments_summary
    from results.directions import read_directions
    from results.experiments import EXPERIMENTS_FOLDER
    from results.merge import earlier_run, run_lock

    folder = run_dir / EXPERIMENTS_FOLDER
    table = read_directions(folder)
    _print(table[table["experiment"].isin(experiments)])
    for path in experiments_summary.write_summary(folder):
        console.print(f"{path.suffix[1:]}: {path}", markup=False)
    with run_lock(run_dir):
        if earlier_run(run_dir) is not None:
            console.print(f"Report: {build_reports(run_dir)['html']}", markup=False)


def _heading(row: dict[str, Any]) -> str:
    from reports.reproduction import group_of

    at = f" at the {row['threshold']} threshold" if row["threshold"] else ""
    return f"{group_of(row)}, {row['column']}{at}"


def _print(found: pd.DataFrame) -> None:
    """Without remarks, which are in the files."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from reports.reproduction import COLUMNS, cells, directions_table, undiagnosed
    from results.aggregate import as_rows
    from results.directions import MISSED

    if found.empty:
        return
    names = [name for name in COLUMNS if name not in ("remark", "threshold")]
    console.print("\nWhat reproduces", style="italic")
    for group, compared in groupby(as_rows(found), _heading):
        shown = Table(
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=Text(group, "bold"), title_justify="left"
        )
        shown.add_column("", ratio=1)
        for name in names:
            justify, whole = ("left", True) if name == "verdict" else ("right", False)
            shown.add_column(COLUMNS[name], justify=justify, no_wrap=whole)  # type: ignore[arg-type]
        for row in compared:
            text = cells(row)
            shown.add_row(*(Text(text[name]) for name in ("compared", *names)))
        console.print(shown)
    console.print(Text(directions_table(found).caption))
    if missing := undiagnosed(found):
        console.print(
            f"{missing} {' or '.join(MISSED)} without a diagnosis: write them into {FILE} in the methods' folders",
            markup=False,
        )
