"""Example images with what every entry made of them, side by side."""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.base import DataError
from datasets.files.places import resolved
from reports.panels import class_colour, encode, kind_colour
from reports.text import percent
from reports.view import Board

_log = logging.getLogger(__name__)

TITLE = "Examples"

VIEWS = {"cam": "CAM", "pseudo_label": "Pseudo-label", "prediction": "Prediction"}

PIXELS = 240
"""Longest side of an embedded picture (shown at half of it, so that it is sharp on dense screens)."""

PICTURES = 800
"""Number of pictures from which they are made smaller, so that the page's size stays bounded."""

_SORTS = {
    "best": "best on the whole",
    "worst": "worst on the whole",
    "disagreement": "methods differ most",
}
_KINDS = {"pseudo_label": "pseudo-labels", "prediction": "predictions"}


def build(board: Board) -> dict[str, Any] | None:
    """Of each entry the lowest seed that has panels."""
    shown = [(entry, panels) for entry in board.methods if (panels := _panels(entry.runs))]
    if not shown:
        return None
    pictures = sum(
        sum(bool(panel[view]) for view in VIEWS) + len(panel.get("steps", []))
        for _, panels in shown
        for panel in panels
    )
    longest = round(PIXELS * min(1.0, math.sqrt(PICTURES / max(pictures, 1))))
    colours = class_colours(board)
    images: dict[str, dict[str, Any]] = {}
    for entry, panels in shown:
        for panel in panels:
            image = images.setdefault(panel["id"], {})
            if not image:
                image |= _given(panel, colours, board.path, longest)
            views = {view: embedded(board.path, panel[view], longest) for view in VIEWS}
            if any(views.values()):
                steps = _steps(board.path, panel, longest)
                image["entries"].append({"label": entry.label, "views": views, "steps": steps})
    for image in images.values():
        found = [view for view in VIEWS if any(entry["views"][view] for entry in image["entries"])]
        image["views"] = {view: VIEWS[view] for view in found}
    return {"images": list(images.values()), "sorts": _sorts(images)}


def class_colours(board: Board) -> dict[str, str]:
    """Colour of each class in the panels, by name; label-map values follow the classes' order, background first."""
    names = board.records.loc[board.records["metric"] == "iou", "class_name"].unique()
    return {name: class_colour(value) for value, name in enumerate(names)}


def _steps(folder: Path, panel: Mapping[str, Any], longest: int) -> list[dict[str, Any]]:
    """What an entry made on the way to what the leaderboard scores, under its stages' names."""
    made = [
        {
            "title": step_title(step["name"]),
            "picture": embedded(folder, step["picture"], longest),
            "legend": [
                {"name": kind["name"], "share": percent(kind["share"]), "colour": kind_colour(number)}
                for number, kind in enumerate(step.get("legend", []), start=1)
            ],
        }
        for step in panel.get("steps", [])
    ]
    return [step for step in made if step["picture"]]


def step_title(name: str) -> str:
    """`pseudo_label_vit` -> "Pseudo-label: vit"; what is no variant of a view keeps its words."""
    for view, title in VIEWS.items():
        if name == view:
            return title
        if name.startswith(f"{view}_"):
            return f"{title}: {name.removeprefix(f'{view}_').replace('_', ' ')}"
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _panels(runs: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    return next((run["panels"] for run in runs if run["panels"]), [])


def _given(panel: dict[str, Any], colours: Mapping[str, str], folder: Path, longest: int) -> dict[str, Any]:
    """What is the same for all entries."""
    reasons = panel.get("reasons") or []
    return labelled(panel, colours, folder, longest) | {
        "reasons": [_reason(reason) for reason in reasons if reason["value"] is not None],
        "sort": reasons[-1]["sort"] if reasons else "sample",
        "entries": [],
    }


def labelled(
    panel: Mapping[str, Any], colours: Mapping[str, str], folder: Path, longest: int
) -> dict[str, Any]:
    """An image with its classes and true mask, whatever was made of it."""
    return {
        "id": panel["id"],
        "labels": [{"name": name, "colour": colours.get(name)} for name in panel["labels"]],
        "reasons": [],
        "split": panel.get("split", ""),
        "image": embedded(folder, panel["image"], longest),
        "truth": embedded(folder, panel["truth"], longest),
    }


def _reason(reason: dict[str, Any]) -> str:
    kind = _KINDS.get(reason["kind"], reason["kind"])
    what = "deviation" if reason["sort"] == "disagreement" else "mean IoU"
    return f"{_SORTS.get(reason['sort'], reason['sort'])} ({kind}: {what} {percent(reason['value'])})"


def _sorts(images: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups that images are shown in."""
    headings = {
        "sample": "Evenly spaced over the training images",
        "best": "Easiest: best on the whole",
        "worst": "Hardest: worst on the whole",
        "disagreement": "Most disputed: methods differ most",
    }
    return [
        {"name": sort, "title": title}
        for sort, title in headings.items()
        if any(image["sort"] == sort for image in images.values())
    ]


def embedded(folder: Path, relative: str | None, longest: int) -> dict[str, Any] | None:
    """An image of the run folder, embedded; None where there is none or it lies outside the folder."""
    if not relative or "\0" in relative:
        return None
    path = resolved(folder / relative)
    if not path.is_relative_to(resolved(folder)) or not path.is_file():
        return None
    try:
        picture = encode(path, longest)
    except DataError as error:
        _log.warning("not shown: %s", error)
        return None
    uri = f"data:{picture.kind};base64,{base64.b64encode(picture.content).decode()}"
    return {"uri": uri, "width": picture.size[0], "height": picture.size[1]}
