"""Tables of ablations in a run folder: `experiments/<method>-<experiment>-<data set>-<scale>.csv`, long format.

What was run with other settings than the table's own is kept apart, under names that end in a digest of them. All
records of rows are in `experiments/records/`, likewise named: by class, by threshold, seconds of stages. Pictures of rows
are in `experiments/panels/`, listed in a JSON file that is named so too. A table is of the seeds of the command that
wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.base import DataError
from datasets.files.listing import text_of
from results.csv_cells import read_csv, to_csv
from results.io import RECORDS_FILE

if TYPE_CHECKING:
    import pandas as pd

EXPERIMENTS_FOLDER = "experiments"
SUMMARY = "summary"
"""Name of the file, beside the tables, of what all of them say together."""
RECORDS_FOLDER = "records"
PANELS_FOLDER = "panels"
COMPARED = ("oracle", "", "fixed")
"""Threshold rules; the first of them that a score has stands beside the paper's. For CAMs that is the oracle, which
papers print; confusion ratios and boundaries of CAMs are of the fixed threshold alone."""


def compared_rule(rules: Collection[str]) -> str:
    """Which of a score's threshold rules stands beside the paper's number; the oracle where it has none."""
    return next((rule for rule in COMPARED if rule in rules), COMPARED[0])


def file_name(experiment: str, place: str, conditions: str = "") -> str:
    """Of an experiment's files, without the ending.

    place: "<data set>-<scale>"; conditions: its changed settings, "" if there are none
    """
    digest = f"-{hashlib.sha256(conditions.encode()).hexdigest()[:8]}" if conditions else ""
    return f"{experiment.replace('/', '-')}-{place}{digest}"


def seeds_written(folder: Path, name: str) -> int:
    """The most seeds that a row of a stored table has; 0 where there is no table, or a damaged one."""
    import pandas as pd

    try:
        return int(pd.read_csv(folder / f"{name}.csv")["seeds"].max())
    except (OSError, ValueError, KeyError):
        return 0


def experiments_alone(folder: Path) -> Path | None:
    """The folder of tables where `folder` is one, or is that of a run that has nothing else; None of other folders."""
    if (folder / RECORDS_FILE).exists():
        return None
    return next((f for f in (folder, folder / EXPERIMENTS_FOLDER) if (f / f"{SUMMARY}.csv").exists()), None)


@dataclass(frozen=True)
class RowPanels:
    """Pictures of what an ablation's rows made of a few images.

    classes: of the data, in the order of label-map values from 1 on
    images:  {"id", "split", "labels", "image", "truth", "rows": [{"label", "pictures": {score's stage: picture}}]};
             pictures are paths relative to the experiments' folder, truth may be None
    """

    classes: Sequence[str]
    images: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Experiment:
    """An ablation's table.

    table: row, column, threshold rule, paper, mean, deviation (in percent; times in hours), seeds (their number),
           reason (why none)
    """

    name: str
    title: str
    conditions: str
    table: pd.DataFrame
    panels: RowPanels | None = None


def write_experiment(folder: Path, experiment: Experiment) -> Path:
    """Write a table with its title and conditions in columns of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{experiment.name}.csv"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    whole = experiment.table.assign(title=experiment.title, conditions=experiment.conditions)
    to_csv(whole, temporary)
    temporary.replace(path)
    return path


def write_row_records(folder: Path, name: str, records: Mapping[str, pd.DataFrame]) -> Path:
    """Write all records of an experiment's rows, by label (columns `results.schema.COLUMNS`), in one CSV file."""
    import pandas as pd

    path = folder / RECORDS_FOLDER / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    to_csv(pd.concat(records, names=["row"]).droplevel(1).reset_index(), temporary)
    temporary.replace(path)
    return path


def write_row_panels(folder: Path, name: str, panels: RowPanels) -> None:
    """List the pictures of an experiment's rows, and delete those that no list in the folder names any more."""
    path = folder / PANELS_FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(panels), ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)
    images = [image for file in path.parent.glob("*.json") for image in _read_panels(file).images]
    named = {folder / picture for image in images
             for picture in (image["image"], image["truth"],
                             *(p for row in image["rows"] for p in row["pictures"].values())) if picture}  # fmt: skip
    for picture in path.parent.glob("*.webp"):
        if picture not in named:
            picture.unlink()


def _read_panels(path: Path) -> RowPanels:
    """Raises DataError."""
    try:
        return RowPanels(**json.loads(text_of(path)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: no list of pictures ({error}); delete it and run the experiment again"
        ) from error


def read_experiments(run_dir: Path) -> list[Experiment]:
    """The ablations of a run folder whose values stand beside a paper's, by name. Raises DataError."""

    found = []
    for path in sorted((run_dir / EXPERIMENTS_FOLDER).glob("*.csv")):
        if path.stem == SUMMARY:
            continue
        try:
            table = read_csv(path, list(_NUMBERS))
            title, conditions = str(table["title"].iloc[0]), str(table["conditions"].iloc[0])
            rules = table.groupby(["row", "column"])["threshold rule"].transform(
                lambda r: compared_rule(set(r))
            )
            compared = table[table["threshold rule"] == rules].drop(columns=["title", "conditions"])
            compared = compared.astype(dict.fromkeys(_NUMBERS, float))
        except (ValueError, KeyError, IndexError) as error:
            raise DataError(
                f"{path}: no table of an experiment ({error}); delete it and run it again"
            ) from error
        panels = path.parent / PANELS_FOLDER / f"{path.stem}.json"
        shown = _read_panels(panels) if panels.is_file() else None
        found.append(Experiment(path.stem, title, conditions, compared, shown))
    return found


_NUMBERS = ("paper", "mean", "deviation")
