"""Why rows of experiments do not reproduce, in words: `diagnoses.yaml` in a method's folder.

    shapes-nano:
      table3:
        "α = 0.6": one or two sentences
        "α = 0.8":
          precision: one or two sentences on this column alone

By data set and scale, experiment, and row as the summary has it; of a row with several columns, text for all of them or
text by column. They are of the tables as set: what runs with other settings has other reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config import SCALES
from benchmark.failures import ConfigError
from datasets import names as dataset_names

if TYPE_CHECKING:
    from methods.base import Method
    from methods.experiment import Experiment

FILE = "diagnoses.yaml"

Diagnoses = dict[tuple[str, str, str, str], str]
"""("<data set>-<scale>", experiment, row, column, "" for all of them) -> text."""


def diagnoses_of(method: Method) -> Diagnoses:
    """By place, experiment, row and column; empty without a file. Raises ConfigError: the file and the key."""
    path = method.folder / FILE if method.folder else None
    if path is None or not path.is_file():
        return {}
    return read_diagnoses(path, {experiment.name: experiment for experiment in method.experiments})


def diagnosis_of(diagnoses: Diagnoses, place: str, experiment: str, row: str, column: str) -> str:
    """The one of a row in a column; "" if there is none."""
    where = (place, experiment, row)
    return diagnoses.get((*where, column)) or diagnoses.get((*where, ""), "")


def read_diagnoses(path: Path, experiments: Mapping[str, Experiment]) -> Diagnoses:
    """As `diagnoses_of`, of a file; experiments: by name."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not (isinstance(document, dict) and all(isinstance(each, dict) for each in document.values())):
        raise ConfigError(
            f"{path}: should map <data set>-<scale> to experiments, these to rows, and these to text"
        )
    places = [f"{dataset}-{scale}" for dataset in dataset_names() for scale in SCALES]
    found = {}
    for place, name, by_row in ((p, n, rows) for p, named in document.items() for n, rows in named.items()):
        if place not in places:
            raise ConfigError(f"{path}: no data set and scale {place!r}; there are {', '.join(places)}")
        if name not in experiments:
            raise ConfigError(f"{path}: {place}: no experiment {name!r}; there are {', '.join(experiments)}")
        if not isinstance(by_row, dict):
            raise ConfigError(f"{path}: {place}: {name}: should map rows to text")
        experiment = experiments[name]
        rows = list(
            dict.fromkeys([row.label for row in experiment.rows] + [c.compared for c in experiment.claims])
        )
        for row, texts in by_row.items():
            if row not in rows:
                raise ConfigError(f"{path}: {place}: {name} has no row {row!r}; there are {', '.join(rows)}")
            for column, text in (texts if isinstance(texts, dict) else {"": texts}).items():
                if column and column not in experiment.columns:
                    raise ConfigError(
                        f"{path}: {place}: {name} has no column {column!r}; there are {', '.join(experiment.columns)}"
                    )
                if not isinstance(text, str) or not text.strip():
                    where = f"row {row!r}, column {column!r}" if column else f"row {row!r}"
                    raise ConfigError(f"{path}: {place}: {name}, {where}: should be text")
                found[place, name, row, column] = " ".join(text.split())
    return found
