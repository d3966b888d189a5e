"""The comparisons of an experiments' folder as files."""

from __future__ import annotations

import os
from pathlib import Path

from reports.markdown import table as markdown_table
from reports.reproduction import directions_table
from reports.sections import ablations, reproduction
from reports.templating import environment
from results.csv_cells import to_csv
from results.directions import read_directions
from results.experiments import SUMMARY


def write_summary(folder: Path) -> list[Path]:
    """Write the comparisons of an experiments' folder as `summary.html`, `.md` and `.csv`; none, no files."""
    found = read_directions(folder)
    if found.empty:
        return []
    page = (
        environment()
        .get_template("summary.html")
        .render(
            title=reproduction.TITLE,
            s=reproduction.data(found),
            ablations_title=ablations.TITLE,
            ablations=ablations.data([folder.parent]),
        )
    )
    contents = {
        "html": page,
        "md": markdown_table(directions_table(found), reproduction.TITLE),
        "csv": to_csv(found),
    }
    paths = []
    for suffix, content in contents.items():
        path = folder / f"{SUMMARY}.{suffix}"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
        paths.append(path)
    return paths
