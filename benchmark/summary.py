"""What the experiments of a run folder say together: files, the report's section, and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.console import console


def write_summary(run_dir: Path, experiments: Sequence[str]) -> None:
    """Write the summary of all experiments of the folder, and print that of those just run.

    Where the folder has a board, its reports are made again, with the tables and the summary in them.
    """
    from reports import build_reports, reproduction
    from results.directions import read_directions
    from results.experiments import EXPERIMENTS_FOLDER
    from results.merge import earlier_run, run_lock

    folder = run_dir / EXPERIMENTS_FOLDER
    table = read_directions(folder)
    ran = table[table["experiment"].isin(experiments)]
    if not ran.empty:
        _print(reproduction.directions_table(ran))
    for path in reproduction.write_summary(folder):
        console.print(f"{path.suffix[1:]}: {path}", markup=False)
    with run_lock(run_dir):
        if earlier_run(run_dir) is not None:
            console.print(f"Report: {build_reports(run_dir)['html']}", markup=False)


def _print(table: object) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from reports.tables import TextTable

    assert isinstance(table, TextTable)
    shown = Table(
        title="What reproduces", caption=Text(table.caption), box=box.SIMPLE_HEAD,
        title_justify="left", caption_justify="left",
    )  # fmt: skip
    for number, head in enumerate(table.heads):
        words = number < table.text_columns or number >= len(table.heads) - table.note_columns
        shown.add_column(head, justify="left" if words else "right", overflow="fold")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)
