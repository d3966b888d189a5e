"""The leaderboard's second table: what the entries cost, and by whom it was measured; for every format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.tables import TextTable, quantity
from reports.text import entry_key, entry_label
from results.aggregate import as_rows, varying
from results.costs import MEASURED, PROFILE, RUN

ALONE = "‡"
"""Mark of what `profile` measured."""
_CAM, _SEGMENTATION = "CAM network", "Segmentation network"
_INFERENCE, _TRAINING, _ALL = "Inference", "Training", "All stages"


@dataclass(frozen=True)
class Column:
    """name: as in `results.costs`; group: the heading over it and its neighbours; title: in words; brief: whether
    narrow tables have it"""

    name: str
    group: str
    head: str
    title: str
    brief: bool = True


COLUMNS = (
    Column("cam_macs_g", _CAM, "MACs (G)", "10⁹ multiply-accumulates of layers"),
    Column("cam_macs_attention_g", _CAM, "+ products", "the same with products of attention", False),
    Column("cam_parameters_m", _CAM, "Params (M)", "10⁶ parameters"),
    Column("cam_images_per_second", _CAM, "images/s", "images a second"),
    Column("segmentation_macs_g", _SEGMENTATION, "MACs (G)", "10⁹ multiply-accumulates of layers"),
    Column(
        "segmentation_macs_attention_g",
        _SEGMENTATION,
        "+ products",
        "the same with products of attention",
        False,
    ),
    Column("segmentation_parameters_m", _SEGMENTATION, "Params (M)", "10⁶ parameters"),
    Column("segmentation_images_per_second", _SEGMENTATION, "images/s", "images a second"),
    Column("training_minutes", _TRAINING, "min", "minutes of all trainings of a seed"),
    Column("inference_host_memory_mb", _INFERENCE, "peak MB", "peak memory of CAM and prediction"),
    Column("inference_device_memory_mb", _INFERENCE, "GPU peak MB", "peak on the GPU of CAM and prediction"),
    Column("minutes", _ALL, "min", "minutes of all stages of a seed and their scoring", False),
    Column("host_memory_mb", _ALL, "peak MB", "peak memory of all stages and their scoring"),
    Column("device_memory_mb", _ALL, "GPU peak MB", "peak on the GPU of all stages and their scoring"),
)


def of_board(costs: pd.DataFrame, part: pd.DataFrame) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The rows of one leaderboard (`results.aggregate.leaderboard`) that have costs, in its order, each with them.

    costs: `results.costs.costs`
    """
    found = {entry_key(row): row for row in as_rows(costs)}
    return [(row, found[entry_key(row)]) for row in as_rows(part) if entry_key(row) in found]


def shown_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Those that any entry has a figure for."""
    return [column for column in COLUMNS if any(math.isfinite(row[column.name]) for row in rows)]


def figure(row: Mapping[str, Any], column: Column) -> str:
    """A cell's text, marked where `profile` measured it."""
    alone = column.name in MEASURED and row[f"{column.name}_by"] == PROFILE
    return quantity(row[column.name]) + (ALONE if alone else "")


def costs_table(costs: pd.DataFrame, part: pd.DataFrame) -> TextTable | None:
    """The costs of one board's entries; None where none is known."""
    entries = of_board(costs, part)
    columns = shown_columns([cost for _, cost in entries])
    if not columns:
        return None
    extra = varying(part)
    rows = [[entry_label(row, extra), *(figure(cost, c) for c in columns)] for row, cost in entries]
    caption = " ".join(["What the entries cost.", *cost_notes(costs, part)])
    groups = tuple((c.group, sum(d.group == c.group for d in columns)) for c in columns)
    heads = ["Method", *(column.head for column in columns)]
    return TextTable("costs", caption, heads, rows, groups=tuple(dict.fromkeys(groups)))


def cost_notes(costs: pd.DataFrame, part: pd.DataFrame) -> list[str]:
    """How the figures of one leaderboard came about, a sentence or a few each."""
    entries = of_board(costs, part)
    rows = [cost for _, cost in entries]
    names = [column.name for column in shown_columns(rows)]
    notes = []
    if any(name.endswith("_macs_g") for name in names):
        sizes = ", ".join(dict.fromkeys(row["image_size"] for row in rows if row["image_size"]))
        notes.append(
            f"MACs: counted, of one image of {sizes} with all scales and mirror images of its stage, over linear and "
            "convolution layers; + products: with those of attention. Other networks (SAM, a refiner's): see profile."
        )
    ran = [row for row in rows if _has_measured(row, RUN) or math.isfinite(row["minutes"])]
    if ran:
        measured = "times, and peak memory of the process"
        if any(row[f"{name}_by"] == RUN for row in ran for name in MEASURED if name.endswith("second")):
            speed = "images of the CAM or prediction stage by its seconds, loading and writing included"
            measured = f"images/s ({speed}), {measured}"
        notes.append(
            f"Measured while running{_where(entries, 'machine')}, perhaps beside other stages: {measured}."
        )
    if any(_has_measured(row, PROFILE) for row in rows):
        notes.append(
            f"{ALONE} Measured alone by profile{_where(entries, 'profile_machine')}: images/s one image at a time, "
            "nothing loaded or written; memory of the network and one pass."
        )
    return notes


def _has_measured(row: Mapping[str, Any], who: str) -> bool:
    return any(row[f"{name}_by"] == who for name in MEASURED)


def _where(entries: Sequence[tuple[dict[str, Any], dict[str, Any]]], column: str) -> str:
    """` on <machine>`; of several machines the methods follow each."""
    methods: dict[str, dict[str, None]] = {}
    for row, cost in entries:
        if cost[column]:
            methods.setdefault(cost[column], {})[row["title"]] = None
    if len(methods) < 2:
        return "".join(f" on {machine}" for machine in methods)
    return " on " + "; ".join(f"{machine} [{', '.join(titles)}]" for machine, titles in methods.items())
