"""The head of a board: its finding in one sentence, and what holds for all of it."""

from __future__ import annotations

import math
from typing import Any

from reports.text import deviation_text, percent
from reports.view import Board
from results.changes import shared_changes


def lead(board: Board) -> dict[str, Any] | None:
    """The best entry without masks, at the last stage that was scored."""
    for score in reversed(board.scores):
        scored = [entry for entry in board.entries if entry.competes and math.isfinite(entry.value(score))]
        if not scored:
            continue
        top = max(scored, key=lambda entry: entry.value(score))
        row = top.row
        bound = row["segmentation_mean"] - row["segmentation_gap"]
        share = row["segmentation_mean"] / bound if score.name == "segmentation" and bound > 0 else math.nan
        return {
            "title": top.label,
            "stage": score.title if score.stage == "cam" else score.title.lower(),
            "split": score.split,
            "mean": percent(top.value(score)),
            "std": deviation_text(row[f"{score.name}_std"], score.name),
            "n": int(row[f"{score.name}_n"]),
            "share": f"{100 * share:.0f}" if math.isfinite(share) else "",
            "bound": percent(bound),
        }
    return None


def facts(board: Board) -> list[tuple[str, str]]:
    """What holds for the whole board, as (term, description)."""
    records = board.records
    found = [("Methods", str(len({entry.row["method"] for entry in board.methods})))]
    found.append(("Seeds", ", ".join(map(str, sorted({cell["seed"] for cell in board.cells}))) or "none"))
    for split in ("train", "val", "test"):
        images = records.loc[records["split"] == split, "images"]
        if not images.empty and images.max() > 0:
            found.append((f"Images {split}", f"{images.max():,}"))
    classes = records.loc[records["metric"] == "iou", "class_name"].nunique()
    if classes:
        found.append(("Classes", str(classes)))
    for column in ("refiner", "segmenter"):
        values = {entry.row[column] for entry in board.methods}
        if len(values) == 1:
            value = values.pop()
            found.append((column.capitalize(), "each method's own" if value == "own" else value))
    if shared := shared_changes(board.table):
        found.append(("Not the default", ", ".join(shared)))
    return found
