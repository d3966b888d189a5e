"""Tables of ablations in a run folder: `experiments/<method>-<experiment>.csv`, long format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.base import DataError

if TYPE_CHECKING:
    import pandas as pd

EXPERIMENTS_FOLDER = "experiments"
COMPARED = ("oracle", "")
"""Threshold rules whose values stand beside the paper's: for CAMs the oracle, which papers print."""


@dataclass(frozen=True)
class Experiment:
    """An ablation's table.

    table: row, column, threshold rule, paper, mean, deviation (in percent), seeds (their number), reason (why none)
    """

    name: str
    title: str
    conditions: str
    table: pd.DataFrame


def write_experiment(folder: Path, experiment: Experiment) -> Path:
    """Write a table with its title and conditions in columns of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{experiment.name}.csv"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    whole = experiment.table.assign(title=experiment.title, conditions=experiment.conditions)
    whole.to_csv(temporary, index=False)
    temporary.replace(path)
    return path


def read_experiments(run_dir: Path) -> list[Experiment]:
    """The ablations of a run folder whose values stand beside a paper's, by name. Raises DataError."""
    import pandas as pd

    found = []
    for path in sorted((run_dir / EXPERIMENTS_FOLDER).glob("*.csv")):
        try:
            table = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in _NUMBERS})
            title, conditions = str(table["title"].iloc[0]), str(table["conditions"].iloc[0])
            compared = table[table["threshold rule"].isin(COMPARED)].drop(columns=["title", "conditions"])
            compared = compared.astype(dict.fromkeys(_NUMBERS, float))
        except (ValueError, KeyError, IndexError) as error:
            raise DataError(
                f"{path}: no table of an experiment ({error}); delete it and run it again"
            ) from error
        found.append(Experiment(path.stem, title, conditions, compared))
    return found


_NUMBERS = ("paper", "mean", "deviation")
