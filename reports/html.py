"""The HTML report: one file that opens from disk, asks the network for nothing and escapes every name."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.figures import SERIES_COLOURS, Curve, curve_figure
from reports.panels import class_colour, encode
from reports.text import (
    deviation_text,
    duration,
    entry_key,
    entry_label,
    percent,
    points,
    score_text,
    seeds_label,
)
from results.aggregate import (
    CONFUSION,
    KEYS,
    SCORES,
    as_rows,
    best,
    confusion_pairs,
    fixed_thresholds,
    per_class_iou,
    threshold_curves,
    varying,
)
from results.comparison import compare_with_papers
from results.io import Run

_PANEL_PIXELS = 240
"""Longest side of an embedded example image (shown at half of it, so that it is sharp on dense screens)."""

_PANEL_STAGES = (("cam", "CAM"), ("pseudo_label", "Pseudo-label"), ("prediction", "Prediction"))

_BOARD = KEYS[:3]

Labels = Mapping[tuple[str, ...], str]
"""How entries are called on their board, by `KEYS`."""


def render(run: Run, board: pd.DataFrame) -> str:
    """The page for a run and its `leaderboard`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=points, duration=duration)
    per_class, curves = per_class_iou(run.records), threshold_curves(run.records)
    fixed, reported = fixed_thresholds(run.records), compare_with_papers(run.records, run.cells)
    boards = []
    for number, (identity, part) in enumerate(board.groupby(_BOARD, sort=False)):
        cells = [cell for cell in run.cells if tuple(cell[key] for key in _BOARD) == identity]
        extra = varying(part)
        labels = {entry_key(row): entry_label(row, extra) for row in as_rows(part)}
        # label-map values follow from the order of the classes, background first
        names = _of(run.records[run.records["metric"] == "iou"], identity)["class_name"].unique()
        colours = {name: class_colour(value) for value, name in enumerate(names)}
        boards.append(
            dict(zip(_BOARD, identity))
            | {
                "id": f"board-{number}",
                "facts": _facts(run.records, part, cells),
                "lead": _lead(part, labels),
            }
            | {"leaderboard": _leaderboard(part), "heat": _heat(part, labels, _of(per_class, identity))}
            | {"curves": _curves(part, labels, _of(curves, identity), _of(fixed, identity))}
            | {"examples": _examples(part, labels, cells, colours, run.path)}
            | {"reported": _reported(labels, _of(reported, identity)), "times": _times(part, labels, cells)}
            | {"cells": [_cell(cell, labels) for cell in cells]}
        )
    return environment.get_template("report.html").render(
        boards=boards,
        finished=_finished(run.cells),
        methods=_methods(run.cells),
        failures=_failures(run.cells),
        series_colours=SERIES_COLOURS,
    )


def _of(table: pd.DataFrame, identity: tuple[Any, ...]) -> pd.DataFrame:
    return table[np.logical_and.reduce([table[key] == value for key, value in zip(_BOARD, identity)])]


def _finished(cells: Sequence[dict[str, Any]]) -> str:
    """When the last cell finished, to the minute."""
    times = [str(cell["provenance"]["finished"]) for cell in cells if cell["provenance"].get("finished")]
    return max(times, default="")[:16].replace("T", " ")


def _facts(
    records: pd.DataFrame, part: pd.DataFrame, cells: Sequence[dict[str, Any]]
) -> list[tuple[str, str]]:
    """What holds for the whole board, as (term, description)."""
    identity = tuple(part.iloc[0][_BOARD])
    here = _of(records, identity)
    seeds = sorted({cell["seed"] for cell in cells})
    facts = [("Methods", str(part.loc[part["status"] != "reference", "method"].nunique()))]
    facts.append(("Seeds", ", ".join(map(str, seeds)) or "none"))
    for split in ("train", "val", "test"):
        images = here.loc[here["split"] == split, "images"]
        if not images.empty and images.max() > 0:
            facts.append((f"Images {split}", f"{images.max():,}"))
    classes = here.loc[here["metric"] == "iou", "class_name"].nunique()
    if classes:
        facts.append(("Classes", str(classes)))
    methods = part[part["status"] != "reference"]
    for column in ("refiner", "segmenter"):
        if methods[column].nunique() == 1:
            value = methods[column].iloc[0]
            facts.append((column.capitalize(), "each method's own" if value == "own" else value))
    return facts


def _lead(part: pd.DataFrame, labels: Labels) -> dict[str, Any] | None:
    """The finding in one sentence: the best entry without masks, at the last stage that was scored."""
    for score in reversed(SCORES):
        rows = part[
            ~part["mask_supervised"] & (part["status"] != "reference") & (part[f"{score.name}_n"] > 0)
        ]
        if rows.empty:
            continue
        row = as_rows(rows.sort_values(f"{score.name}_mean", ascending=False))[0]
        bound = row["segmentation_mean"] - row["segmentation_gap"]
        share = row["segmentation_mean"] / bound if score.name == "segmentation" and bound > 0 else math.nan
        return {
            "title": labels[entry_key(row)],
            "score": score,
            "mean": percent(row[f"{score.name}_mean"]),
            "std": deviation_text(row[f"{score.name}_std"], score.name),
            "n": int(row[f"{score.name}_n"]),
            "share": f"{100 * share:.0f}" if math.isfinite(share) else "",
            "bound": percent(bound),
        }
    return None


def _leaderboard(part: pd.DataFrame) -> dict[str, Any]:
    pairs = confusion_pairs(part)
    scores = [score for score in SCORES if (part[f"{score.name}_n"] > 0).any()]
    columns = [(score.name, False) for score in scores] + [(CONFUSION + pair, True) for pair in pairs]
    tops = {name: score_text(best(part, f"{name}_mean", lowest=lowest), name) for name, lowest in columns}
    extra = varying(part)
    gaps = bool(part["segmentation_gap"].notna().any())
    rank_of = _ranks(part)
    rows = []
    for index, row in enumerate(as_rows(part)):
        eligible = not row["mask_supervised"] and row["status"] != "reference"
        cells = []
        for name, _ in columns:
            mean, text = row[f"{name}_mean"], score_text(row[f"{name}_mean"], name)
            cells.append(
                {
                    "value": mean if math.isfinite(mean) else None,
                    "text": text,
                    "std": deviation_text(row[f"{name}_std"], name),
                    "n": int(row[f"{name}_n"]) if 0 < row[f"{name}_n"] != row["seeds"] else 0,
                    "best": eligible and math.isfinite(mean) and text == tops[name],
                }
            )
        gap = row["segmentation_gap"]
        rows.append(
            {key: row[key] for key in ("title", "paper", "method", "status", "reason")}
            | {"parts": [row[column] for column in extra] if row["status"] != "reference" else []}
            | {"supervision": row["supervision"], "masks": row["mask_supervised"], "seeds": seeds_label(row)}
            | {"rank": rank_of[index], "scored": any(cell["value"] is not None for cell in cells)}
            | {"cells": cells, "gap": gap if math.isfinite(gap) else None}
        )
    return {"scores": scores, "pairs": [pair.split("|") for pair in pairs], "gaps": gaps, "rows": rows}


def _ranks(part: pd.DataFrame) -> list[int | None]:
    """Place by segmentation mIoU among entries without masks; equal printed values share a place."""
    eligible = ~part["mask_supervised"] & (part["status"] != "reference")
    ranks = part["segmentation_mean"].where(eligible).round(3).rank(ascending=False, method="min")
    return [int(rank) if math.isfinite(rank) else None for rank in ranks]


def _heat(part: pd.DataFrame, labels: Labels, per_class: pd.DataFrame) -> list[dict[str, Any]]:
    """One table a score: classes as rows, entries as columns."""
    tables = []
    for score in SCORES:
        chosen = per_class[per_class["score"] == score.name]
        if chosen.empty:
            continue
        values = {(entry_key(row), row["class_name"]): row for row in as_rows(chosen)}
        scored = {entry for entry, _ in values}
        entries = [row for row in as_rows(part) if entry_key(row) in scored]
        rows = []
        for class_name in dict.fromkeys(chosen["class_name"]):
            found = [values.get((entry_key(entry), class_name)) for entry in entries]
            cells = [
                {"mean": item["mean"], "std": deviation_text(item["std"], score.name), "n": item["n"]}
                if item is not None and math.isfinite(item["mean"])
                else None
                for item in found
            ]
            rows.append({"name": class_name, "cells": cells})
        heads = [
            {"label": labels[entry_key(entry)], "reference": entry["status"] == "reference"}
            for entry in entries
        ]
        tables.append({"score": score, "heads": heads, "rows": rows})
    return tables


def _curves(
    part: pd.DataFrame, labels: Labels, curves: pd.DataFrame, fixed: pd.DataFrame
) -> dict[str, Any] | None:
    if curves.empty:
        return None
    marks = {entry_key(row): row["threshold"] for row in as_rows(fixed)}
    lines: list[Curve] = []
    legend = []
    by_entry = dict(iter(curves.groupby(KEYS, sort=False)))
    for row in as_rows(part):
        points_ = by_entry.get(entry_key(row))
        if points_ is None:
            continue
        series = len(lines)
        mark = marks.get(entry_key(row), math.nan)
        x, mean, deviation = (points_[column].to_numpy(float) for column in ("threshold", "mean", "std"))
        lines.append(Curve(x, 100 * mean, 100 * deviation, mark, series))
        top = int(np.nanargmax(mean))
        legend.append(
            {"label": labels[entry_key(row)], "series": series % SERIES_COLOURS, "fixed": mark}
            | {"dash": series // SERIES_COLOURS % 3, "best": percent(mean[top]), "at": x[top]}
        )
    return {"svg": Markup(curve_figure(lines, "background threshold", "CAM mIoU (%)")), "legend": legend}


def _examples(
    part: pd.DataFrame,
    labels: Labels,
    cells: Sequence[dict[str, Any]],
    colours: Mapping[str, str],
    folder: Path,
) -> list[dict[str, Any]]:
    """Example images, every method's panels side by side; of each entry the lowest seed that has panels."""
    panels_of: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for cell in sorted(cells, key=lambda c: c["seed"]):
        if cell["panels"]:
            panels_of.setdefault(entry_key(cell), cell["panels"])
    examples: dict[str, dict[str, Any]] = {}
    for row in as_rows(part):
        for panel in panels_of.get(entry_key(row), ()):
            example = examples.setdefault(
                panel["id"],
                {"id": panel["id"], "labels": panel["labels"], "entries": []}
                | {"colours": [colours.get(label) for label in panel["labels"]]}
                | {"image": _picture(folder, panel["image"]), "truth": _picture(folder, panel["truth"])},
            )
            views = {name: _picture(folder, panel[name]) for name, _ in _PANEL_STAGES}
            if any(views.values()):
                example["entries"].append({"label": labels[entry_key(row)], "views": views})
    for example in examples.values():
        example["stages"] = [
            {"name": name, "title": title}
            for name, title in _PANEL_STAGES
            if any(entry["views"][name] for entry in example["entries"])
        ]
    return list(examples.values())


def _picture(folder: Path, relative: str | None) -> dict[str, Any] | None:
    """An image of the run folder, embedded; None where there is none or it lies outside the folder."""
    if not relative:
        return None
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return None
    picture = encode(path, _PANEL_PIXELS)
    uri = f"data:{picture.kind};base64,{base64.b64encode(picture.content).decode()}"
    return {"uri": uri, "width": picture.size[0], "height": picture.size[1]}


def _reported(labels: Labels, reported: pd.DataFrame) -> list[dict[str, Any]]:
    names = {score.stage: score.title.split()[0] for score in SCORES}
    return [
        row | {"title": labels[entry_key(row)], "stage": names.get(row["stage"], row["stage"])}
        for row in as_rows(reported[reported["reported"].notna()])
    ]


def _times(part: pd.DataFrame, labels: Labels, cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean seconds of each entry's stages over its seeds, with their share of the longest entry's total."""
    rows: list[dict[str, Any]] = []
    for entry in as_rows(part):
        seconds: dict[str, list[float]] = {}
        for cell in cells:
            if entry_key(cell) == entry_key(entry):
                for stage in cell["stages"]:
                    if stage.get("seconds") is not None:
                        seconds.setdefault(str(stage["name"]), []).append(float(stage["seconds"]))
        stages = [{"name": name, "seconds": float(np.mean(values))} for name, values in seconds.items()]
        if stages:
            total = sum(float(np.mean(values)) for values in seconds.values())
            rows.append({"label": labels[entry_key(entry)], "stages": stages, "total": total})
    longest = max((row["total"] for row in rows), default=0.0) or 1.0
    for row in rows:
        for stage in row["stages"]:
            stage["width"] = 100 * stage["seconds"] / longest
    return rows


def _cell(cell: dict[str, Any], labels: Labels) -> dict[str, Any]:
    return {
        "label": labels[entry_key(cell)],
        "seed": cell["seed"],
        "status": cell["status"],
        "reason": cell["reason"],
        "stages": cell["stages"],
        "settings": _pretty(cell["settings"]),
        "provenance": _pretty(cell["provenance"]),
    }


def _failures(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells without a result; seeds that share entry and reason share a row."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in cells:
        if cell["status"] != "done":
            title = cell["method_info"].get("title") or cell["method"]
            row = {**cell, "title": title, "seeds": []}
            rows.setdefault((*entry_key(cell), cell["status"], cell["reason"]), row)["seeds"].append(
                cell["seed"]
            )
    return list(rows.values())


def _pretty(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str)


def _methods(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is known about each method, once."""
    methods: dict[str, dict[str, Any]] = {}
    for cell in cells:
        if cell["method_info"]:
            info = cell["method_info"]
            methods.setdefault(
                cell["method"],
                {"name": cell["method"], "deviations": info.get("deviations") or []}
                | {key: info.get(key, "") for key in ("title", "paper", "supervision", "summary")},
            )
    return list(methods.values())
