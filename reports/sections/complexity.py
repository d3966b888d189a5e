"""What the entries cost: operations, parameters, speed and memory as `profile` measured them, and stage by stage
what running them took."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.view import PROFILE, Board
from results.aggregate import KEYS, as_rows, summarise

TITLE = "Complexity"

METRICS = {
    "macs_g": "G MACs",
    "macs_attention_g": "with attention",
    "parameters_m": "M parameters",
    "images_per_second": "images/s",
    "memory_mb": "peak memory (MB)",
    "device_memory_mb": "device memory (MB)",
    "host_memory_mb": "host memory (MB)",
}
"""Columns of the table, by metric; `variant` says what a row covers."""


_MEMORY = ("memory_mb", "device_memory_mb", "host_memory_mb")


def build(board: Board) -> dict[str, Any] | None:
    rows, metrics = _profiles(board)
    times = _times(board)
    return {"profiles": rows, "metrics": metrics, "times": times} if rows or times else None


def profile_of(board: Board) -> dict[tuple[str, ...], dict[str, float]]:
    """By entry and metric, the largest of what was profiled of it: its costliest pass, its largest network."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in _profile_means(board.records):
        of_entry = found.setdefault(tuple(row[key] for key in KEYS), {})
        of_entry[row["metric"]] = max(row["mean"], of_entry.get(row["metric"], row["mean"]))
    return found


def stage_costs(board: Board) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """By entry its stages in order: name, mean seconds over seeds, and peak memory in MB where it was recorded,
    of host and device the larger."""
    records = board.records
    seconds = summarise(
        records[(records["metric"] == "seconds") & (records["stage"] != PROFILE)], [*KEYS, "stage"]
    )
    memory = records[records["metric"].isin(_MEMORY) & (records["stage"] != PROFILE)]
    peaks = memory.groupby([*KEYS, "stage"])["value"].max().to_dict()
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in as_rows(seconds):
        key = tuple(row[column] for column in KEYS)
        cost = {"name": row["stage"], "seconds": row["mean"], "memory": peaks.get((*key, row["stage"]))}
        found.setdefault(key, []).append(cost)
    return found


def _profile_means(records: pd.DataFrame) -> list[dict[str, Any]]:
    chosen = records[(records["stage"] == PROFILE) & records["metric"].isin(METRICS)]
    return as_rows(summarise(chosen, [*KEYS, "variant", "metric"]))


def _profiles(board: Board) -> tuple[list[dict[str, Any]], dict[str, str]]:
    values: dict[tuple[str, ...], dict[str, dict[str, float]]] = {}
    for row in _profile_means(board.records):
        of_entry = values.setdefault(tuple(row[key] for key in KEYS), {})
        of_entry.setdefault(row["variant"], {})[row["metric"]] = row["mean"]
    rows = [
        {"label": entry.label, "covers": variant or "network", "values": numbers}
        for entry in board.methods
        for variant, numbers in values.get(entry.key, {}).items()
    ]
    present = {metric for row in rows for metric in row["values"]}
    return rows, {metric: title for metric, title in METRICS.items() if metric in present}


def _times(board: Board) -> list[dict[str, Any]]:
    """Each entry's stages, with their share of the longest entry's total."""
    costs = stage_costs(board)
    rows = []
    for entry in board.methods:
        if stages := costs.get(entry.key):
            memory = [stage["memory"] for stage in stages if stage["memory"] is not None]
            total = sum(stage["seconds"] for stage in stages)
            rows.append(
                {"label": entry.label, "stages": stages, "total": total, "memory": max(memory, default=None)}
            )
    longest = max((row["total"] for row in rows), default=0.0) or 1.0
    for row in rows:
        row["stages"] = [stage | {"width": 100 * stage["seconds"] / longest} for stage in row["stages"]]
    return rows
