"""Writes the page of what the field reports beside `results/field.md` when the site is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from reports.field.page import page
from results.field import load_field

PLACE = Path("results") / "field-table.html"
"""Of the page in the site; `results/field.md` links it."""


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", write_page)
    return {"parallel_read_safe": True}


def write_page(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        (Path(app.outdir) / PLACE).write_text(page(load_field()), encoding="utf-8")
