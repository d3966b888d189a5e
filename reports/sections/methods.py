"""Each method once: paper, deviations, sources of its values, and what its stages noted of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.sections.details import blocks
from reports.view import Board

TITLE = "Methods, deviations, sources and details"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    methods: dict[str, dict[str, Any]] = {}
    for board in boards:
        for entry in board.methods:
            for run in entry.runs:
                info = run["method_info"]
                if info and run["method"] not in methods:
                    methods[run["method"]] = {
                        "name": run["method"],
                        "deviations": [],
                        "sources": [],
                        "details": [],
                    } | {key: info.get(key, "") for key in ("title", "paper", "supervision", "summary")}
                if info:  # runs differ in the refiner and segmentation network that a grid gives them
                    known = methods[run["method"]]["deviations"]
                    known += [d for d in info.get("deviations") or [] if d not in known]
                    given = methods[run["method"]]["sources"]
                    given += [s for s in info.get("sources") or [] if s not in given]
            if (found := methods.get(entry.row["method"])) is not None:
                found["details"] += _details(board, entry.label, entry.runs)
    return {"methods": list(methods.values())} if methods else None


def _details(board: Board, label: str, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The files that stages left, of the lowest seed that has any."""
    where = f"{label} on {board.name}, {board.scale}, {board.protocol} protocol"
    for run in runs:
        files = [
            {
                "title": f"{stage['name']}/{name}",
                "where": f"{where}, seed {run['seed']}",
                "blocks": blocks(content),
            }
            for stage in run["stages"]
            for name, content in (stage.get("details") or {}).items()
        ]
        if files:
            return files
    return []
