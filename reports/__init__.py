"""Reports: pure functions of a run's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from datasets.base import DataError

FORMATS = ("html", "latex", "markdown", "csv", "parquet", "figures")
DEFAULT_FORMATS = ("html", "latex", "markdown", "csv")


def build_reports(
    run_dir: Path,
    output: Path | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    baseline: str = "",
) -> dict[str, Path]:
    """Write a run's reports into a folder, by default its own; returns the file to open by format.

    html: `report.html`, and the leak certificate (`results.certificate`) as JSON
    latex: `tables.tex` for `\\input` and `report.tex`, a document with it and the figures
    markdown: `report.md`; csv, parquet: `tables/*`; figures: `figures/*.pdf` and `.svg`
    baseline: a method; differences from it are tested in place of all pairs, and nothing is ranked
    Raises DataError on an unknown format or baseline, and if `run_dir` is no run or is empty.
    """
    from results.aggregate import leaderboard
    from results.certificate import CERTIFICATE, certificate
    from results.io import read_run
    from results.significance import significance

    for name in formats:
        if name not in FORMATS:
            raise DataError(f"unknown report format {name!r}; choose from {', '.join(FORMATS)}")
    stored = read_run(run_dir)
    if not stored.runs and stored.records.empty:
        raise DataError(f"{run_dir}: the run is empty, there is nothing to report; `run` fills it")
    board = leaderboard(stored.records, stored.runs)
    methods = list(dict.fromkeys(board.loc[board["status"] != "reference", "method"]))
    if baseline and baseline not in methods:
        raise DataError(f"no method {baseline!r} in {run_dir}; choose from {', '.join(methods)}")
    found = significance(stored, board, baseline)
    folder = output or run_dir
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    if "figures" in formats:
        from reports import paper_figures

        pictures = paper_figures.write(stored, board, folder)
        if pictures:
            written["figures"] = pictures[0]
    if "html" in formats:
        from reports import html

        written["html"] = _write(folder / "report.html", html.render(stored, board, found))
        _write(folder / CERTIFICATE, json.dumps(certificate(stored.runs), indent=1) + "\n")
    if "latex" in formats:
        from reports import latex_tables

        text = latex_tables.tables(stored, board, found)
        written["latex"] = _write(folder / "tables.tex", text)
        _write(folder / "report.tex", latex_tables.document_of(stored, board))
    if "markdown" in formats:
        from reports import markdown

        written["markdown"] = _write(folder / "report.md", markdown.render(stored, board, found))
    if "csv" in formats or "parquet" in formats:
        from reports import exports

        tables = exports.frames(stored, board, found)
        for suffix in ("csv", "parquet"):
            if suffix in formats:
                written[suffix] = exports.write(tables, folder, suffix)
    return written


def _write(path: Path, content: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
