"""Tables of verdicts on images and of single defects, as cells for the HTML page, LaTeX, Markdown and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.text import MISSING, deviation_text, percent, points
from results.aggregate import KEYS, SCORES, Score, as_rows
from results.inspection import BY_TYPE, COUNTS, DEFECTS, DIFFERENCES, PAIRS, VERDICTS

Key = tuple[str, ...]
Cell = Mapping[str, Any] | None
"""A row of `results.inspection.inspection_metrics`, or nothing."""

EXPLAINED = {
    "verdicts": "Verdicts on images, in percent. Escapes: defective images that pass, of the defective ones; overkill: "
    "good images that are rejected, of the good ones. AUROC and the rates at a given other rate: of an image's highest "
    "foreground probability (top: the mean of its highest .1 %); calibrated: at the threshold that rejects no more than "
    "5 % of the good training images; escapes and overkill alone: of label maps, where a pixel of a defect rejects.",
    "defects": "Single defects (connected pixels), in percent. Found: a tenth of it or more is marked, as whichever "
    "class; small below .1 % of the image, large from 1 %. False alarms: regions marked on a good part, a number. AUPRO: "
    "up to a false-positive rate of 30 %, of CAMs over the images with a defect. Area error: median of |marked - true| / "
    "true area of images with a defect; area bias: all marked area against all true area. CAMs at the fixed threshold.",
    "types": "By type of defect, in percent: single defects found, and images that pass.",
    "confusion": "What images of a type are taken for, in percent of its images: the class of most marked pixels.",
}
"""Kind of table -> what it shows."""
NO_VERDICTS = "CAMs and pseudo-labels have no verdicts: they are made with the images' labels, which these would repeat."


@dataclass(frozen=True)
class InspectionTable:
    """kind: of `EXPLAINED`; rows: (entry's key, true type or "", cells)"""

    kind: str
    score: Score
    heads: Sequence[str]
    rows: Sequence[tuple[Key, str, Sequence[Cell]]]


def inspection_tables(metrics: pd.DataFrame, keys: Sequence[Key]) -> list[InspectionTable]:
    """All that there are numbers for. keys: `KEYS` of a leaderboard's entries, in order; of others nothing is shown."""
    values: dict[tuple[Key, str], dict[tuple[str, str], dict[str, Any]]] = {}
    wanted = set(keys)
    for row in as_rows(metrics):
        key = tuple(row[column] for column in KEYS)
        if key in wanted and math.isfinite(row["mean"]):
            values.setdefault((key, row["score"]), {})[row["metric"], row["class_name"]] = row
    tables = []
    for score in SCORES:
        of_score = {key: values[key, score.name] for key in keys if (key, score.name) in values}
        present = dict.fromkeys(name for found in of_score.values() for name in found)
        classes = list(dict.fromkeys(name for metric, name in present if metric in BY_TYPE and name))
        types = {(m, c): f"{c}: {what}" for c in classes for m, what in zip(BY_TYPE, ("found", "escapes"))}
        for kind, columns in (("verdicts", VERDICTS), ("defects", DEFECTS), ("types", types)):
            if shown := [column for column in columns if column in present]:
                rows = [(key, "", [found.get(c) for c in shown]) for key, found in of_score.items()]
                tables.append(InspectionTable(kind, score, [columns[c] for c in shown], rows))
        pairs = [name.split("|", 1) for metric, name in present if metric == PAIRS]
        true, said = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
        if pairs:
            rows = [
                (key, one, [found.get((PAIRS, f"{one}|{other}")) for other in said])
                for key, found in of_score.items()
                for one in true
            ]
            tables.append(InspectionTable("confusion", score, said, rows))
    return tables


def written(cell: Cell) -> str:
    """A cell's mean as text, in percent where it is a share."""
    if cell is None:
        return MISSING
    if cell["metric"] in COUNTS:
        return f"{cell['mean']:.2f}"
    return points(cell["mean"]) if cell["metric"] in DIFFERENCES else percent(cell["mean"])


def deviation_written(cell: Mapping[str, Any]) -> str:
    """Its deviation over seeds; empty where there is one value only."""
    if cell["metric"] in COUNTS:
        return f"{cell['std']:.2f}" if math.isfinite(cell["std"]) else ""
    return deviation_text(cell["std"], "")


def with_deviation(cell: Cell) -> str:
    """`61.2 ± 0.8`."""
    deviation = "" if cell is None else deviation_written(cell)
    return f"{written(cell)} ± {deviation}" if deviation else written(cell)
