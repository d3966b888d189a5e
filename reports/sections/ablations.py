"""Ablations that were run into the folder: every row beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.tables import experiment_table
from reports.view import Board
from results.experiments import read_experiments

TITLE = "Ablations"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    found = [
        experiment for path in dict.fromkeys(b.path for b in boards) for experiment in read_experiments(path)
    ]
    tables = [
        {
            "title": experiment.title,
            "conditions": experiment.conditions,
            "table": experiment_table(experiment),
        }
        for experiment in found
    ]
    return {"tables": tables} if tables else None
