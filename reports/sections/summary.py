"""The head of a leaderboard: what holds for all of it."""

from __future__ import annotations

from reports.view import Board
from results.changes import shared_changes


def facts(board: Board) -> list[tuple[str, str]]:
    """What holds for the whole leaderboard, as (term, description)."""
    records = board.records
    found = [("Methods", str(len({entry.row["method"] for entry in board.methods})))]
    found.append(("Seeds", str(len({run["seed"] for run in board.runs})) if board.runs else "none"))
    for split in ("train", "val", "test"):
        images = records.loc[records["split"] == split, "images"]
        scored = 0 if images.empty else int(images.max())
        trained = _trained(board) if split == "train" else 0
        if max(trained, scored):
            some = f", {scored:,} of them scored" if 0 < scored < trained else ""
            found.append((f"Images {split}", f"{max(trained, scored):,}{some}"))
    classes = records.loc[
        (records["metric"] == "iou") & (records["class_name"] != "background"), "class_name"
    ].nunique()
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


def _trained(board: Board) -> int:
    """Images that networks were trained on, as far as runs say."""
    stages = [stage for run in board.runs for stage in run["stages"] if stage.get("kind") == "weights"]
    return max((stage.get("images") or 0 for stage in stages), default=0)
