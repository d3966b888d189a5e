"""A run's tables as data: CSV or Parquet files in `tables/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from reports.ledgers import ledgers_frame
from results.aggregate import KEYS, per_class_iou, threshold_curves
from results.comparison import compare_with_papers
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.csv_cells import to_csv
from results.directions import read_directions
from results.experiments import EXPERIMENTS_FOLDER
from results.explanations import read_ledgers
from results.further import further_metrics
from results.inspection import inspection_metrics
from results.io import StoredRuns
from results.reported import reported_frame
from results.significance import Significance

FOLDER = "tables"


def frames(stored: StoredRuns, board: pd.DataFrame, significance: Significance) -> Mapping[str, pd.DataFrame]:
    """Tables by file name; scores are fractions."""
    pairs = significance.pairs.assign(
        **{
            side: significance.pairs[side].map(lambda entry: " · ".join(filter(None, entry[3:])))
            for side in ("a", "b")
        }
    )
    profiles = complexity_table(read_profiles(stored.path))
    cost = costs(stored, profiles)
    return {
        "leaderboard": board.merge(cost, on=KEYS, how="left"),
        "per_class": per_class_iou(stored.records),
        "further_metrics": further_metrics(stored.records),
        "inspection": inspection_metrics(stored.records),
        "threshold_curves": threshold_curves(stored.records),
        "standings": significance.standings,
        "pairs": pairs,
        "papers": compare_with_papers(stored.records, stored.runs),
        "costs": cost,
        "complexity": profiles,
        "reported": reported_frame(),
        "explanations": ledgers_frame(read_ledgers(stored.path)),
        "reproduction": read_directions(stored.path / EXPERIMENTS_FOLDER),
    }


def write(tables: Mapping[str, pd.DataFrame], folder: Path, suffix: str) -> Path:
    """Write every table as "csv" or "parquet"; returns the leaderboard's file."""
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        path = target / f"{name}.{suffix}"
        temporary = target / f".{path.name}.{os.getpid()}.tmp"
        try:
            if suffix == "csv":
                to_csv(table, temporary)
            else:
                table.to_parquet(temporary, index=False)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return target / f"leaderboard.{suffix}"
