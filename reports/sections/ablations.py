"""Ablations that were run into the folder: every row beside the paper's numbers, and what it made of a few images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.panels import class_colour
from reports.sections.examples import PICTURES, PIXELS, embedded, labelled, step_title
from reports.tables import experiment_table
from reports.view import Board
from results.experiments import EXPERIMENTS_FOLDER, Experiment, read_experiments

TITLE = "Ablations"


def build(boards: Sequence[Board]) -> dict[str, Any] | None:
    return data([board.path for board in boards])


def data(run_dirs: Sequence[Path]) -> dict[str, Any] | None:
    """Of the ablations of run folders; None where there are none."""
    found = [(path, experiment) for path in dict.fromkeys(run_dirs) for experiment in read_experiments(path)]
    pictures = sum(
        len(row["pictures"])
        for _, experiment in found
        if experiment.panels
        for image in experiment.panels.images
        for row in image["rows"]
    )
    longest = round(PIXELS * min(1.0, math.sqrt(PICTURES / max(pictures, 1))))
    tables = [
        {
            "title": experiment.title,
            "conditions": experiment.conditions,
            "table": experiment_table(experiment),
            "images": _images(experiment, path / EXPERIMENTS_FOLDER, longest),
        }
        for path, experiment in found
    ]
    return {"tables": tables} if tables else None


def _images(experiment: Experiment, folder: Path, longest: int) -> list[dict[str, Any]]:
    """Images with what every row of a table made of them, each row's pictures under what they are."""
    if experiment.panels is None:
        return []
    colours = {name: class_colour(value) for value, name in enumerate(experiment.panels.classes, start=1)}
    images = []
    for image in experiment.panels.images:
        rows = [
            {
                "label": row["label"],
                "figures": [
                    {"title": step_title(name), "picture": picture}
                    for name, path in row["pictures"].items()
                    if (picture := embedded(folder, path, longest))
                ],
            }
            for row in image["rows"]
        ]
        images.append(labelled(image, colours, folder, longest) | {"rows": [r for r in rows if r["figures"]]})
    return [image for image in images if image["rows"]]
