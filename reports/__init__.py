"""Reports: pure functions of a run's records."""

from __future__ import annotations

import os
from pathlib import Path

from datasets.base import DataError


def build_reports(run_dir: Path, output: Path | None = None) -> dict[str, Path]:
    """Write `report.html`, `tables.tex`, `leaderboard.csv` and `leaderboard.md`.

    `output` is a folder, by default the run's own. Returns the files by kind: html, latex, csv, markdown.
    Raises DataError if `run_dir` is no run or is empty.
    """
    from reports import html, latex, text
    from results.aggregate import leaderboard, per_class_iou
    from results.io import read_run
    from results.significance import significance

    run = read_run(run_dir)
    if not run.cells and run.records.empty:
        raise DataError(f"{run_dir}: the run is empty, there is nothing to report; `run` fills it")
    board = leaderboard(run.records, run.cells)
    contents = {
        "html": ("report.html", html.render(run, board, significance(run, board).standings)),
        "latex": ("tables.tex", latex.tables(board, per_class_iou(run.records))),
        "csv": ("leaderboard.csv", board.to_csv(index=False)),
        "markdown": ("leaderboard.md", text.markdown_leaderboard(board)),
    }
    folder = output or run_dir
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for kind, (name, content) in contents.items():
        written[kind] = folder / name
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(written[kind])
    return written
