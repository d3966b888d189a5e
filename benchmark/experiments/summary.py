"""What the experiments of a run folder say together: files, the report's section, and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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


def _print(found: pd.DataFrame) -> None:
    """Without remarks, which are in the files."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from reports.reproduction import COLUMNS, cells, directions_table, group_of, undiagnosed
    from results.aggregate import as_rows
    from results.directions import MISSED

    if found.empty:
        return
    shown = Table(
        title="What reproduces",
        caption=Text(directions_table(found).caption),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    shown.add_column("")
    names = [name for name in COLUMNS if name != "remark"]
    for name in names:
        shown.add_column(COLUMNS[name], justify="left" if name in ("verdict", "threshold") else "right")
    group = ""
    for row in as_rows(found):
        if group != (group := f"{group_of(row)}, {row['column']}"):
            shown.add_row(Text(group, style="bold"))
        text = cells(row)
        shown.add_row(*(Text(text[name]) for name in ("compared", *names)))
    console.print(shown)
    if missing := undiagnosed(found):
        console.print(
            f"{missing} {' or '.join(MISSED)} without a diagnosis: write them into {FILE} in the methods' folders",
            markup=False,
        )
