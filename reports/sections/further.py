"""Boundaries, object sizes and numbers of classes, a table a score; and the accuracy of the image classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports.text import deviation_text, percent
from reports.view import Board, LeaderboardEntry
from results.aggregate import as_rows
from results.further import CLASSIFIER, COLUMNS, further_metrics

TITLE = "Boundaries, sizes and classifiers"

Values = Mapping[tuple[tuple[str, ...], str, str, str], Mapping[str, Any]]
"""(entry's key, score, metric, class) -> mean, std, n, images."""


def build(board: Board) -> dict[str, Any] | None:
    table = further_metrics(board.records)
    values: Values = {
        (key, row["score"], row["metric"], row["class_name"]): row
        for key, rows in board.of_each(table).items()
        for row in as_rows(rows)
        if math.isfinite(row["mean"])
    }
    tables = []
    for score in board.scores:
        columns = [c for c in COLUMNS if any(key[1:] == (score.name, *c) for key in values)]
        if columns:
            heads = [COLUMNS[column] for column in columns]
            tables.append(
                {"name": score.name, "title": f"{score.title} ({score.split})", "heads": heads}
                | {"rows": _rows(board.entries, values, score.name, columns)}
            )
    classifiers = table[table["score"] == CLASSIFIER]
    if not classifiers.empty:
        names = [n for n in dict.fromkeys(classifiers["class_name"]) if n]
        columns = [("mean_average_precision", ""), *(("average_precision", name) for name in names)]
        tables.append(
            {"name": CLASSIFIER, "title": "Classifier (val)", "heads": ["mAP", *names]}
            | {"rows": _rows(board.entries, values, CLASSIFIER, columns)}
        )
    return {"tables": tables} if tables else None


def _rows(
    entries: Sequence[LeaderboardEntry], values: Values, score: str, columns: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    rows = []
    for entry in entries:
        cells = [_cell(values.get((entry.key, score, *column))) for column in columns]
        if any(cells):
            rows.append({"label": entry.label, "reference": entry.is_reference, "cells": cells})
    return rows


def _cell(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    std = deviation_text(row["std"], "")
    return {"text": percent(row["mean"]), "std": std, "n": row["n"], "images": row["images"]}
