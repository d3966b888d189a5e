"""Makes reStructuredText of this project's docstrings, whose lists of arguments are lines ``name: text``."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

NAMED = re.compile(r'("?\w+"?(?:, "?\w+"?)*):\s+(\S.*)')


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}


def process(app: Sphinx, what: str, name: str, subject: object, options: object, lines: list[str]) -> None:
    """Turn ``name: text`` and its deeper lines into a definition, in place."""
    made: list[str] = []
    inside = False
    for line in lines:
        if named := NAMED.fullmatch(line):
            made += ["", f"``{named[1]}``", f"   {named[2]}"]
            inside = True
        elif inside and line.startswith(" "):
            made.append(f"   {line.strip()}")
        else:
            made += [""] * inside + [line]
            inside = False
    lines[:] = made
