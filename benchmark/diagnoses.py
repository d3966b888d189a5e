"""Why rows of experiments do not reproduce, in words: `diagnoses.yaml` in a method's folder.

    table3:
      "α = 0.6": one or two sentences

An experiment's rows by their labels, as its table has them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config import ConfigError

if TYPE_CHECKING:
    from methods.base import Method

FILE = "diagnoses.yaml"


def diagnoses_of(method: Method) -> dict[tuple[str, str], str]:
    """(experiment, row) -> diagnosis; empty without a file. Raises ConfigError that names the file and the key."""
    source = getattr(sys.modules[type(method).__module__], "__file__", None)
    path = Path(source).with_name(FILE) if source else None
    if path is None or not path.is_file():
        return {}
    return read_diagnoses(path, {e.name: [row.label for row in e.rows] for e in method.experiments})


def read_diagnoses(path: Path, rows: dict[str, list[str]]) -> dict[tuple[str, str], str]:
    """As `diagnoses_of`; rows: labels by experiment."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: should map experiments to rows, and these to text")
    found = {}
    for experiment, texts in document.items():
        if experiment not in rows:
            raise ConfigError(f"{path}: no experiment {experiment!r}; there are {', '.join(rows)}")
        if not isinstance(texts, dict):
            raise ConfigError(f"{path}: {experiment}: should map rows to text")
        for row, text in texts.items():
            if row not in rows[experiment]:
                raise ConfigError(
                    f"{path}: {experiment} has no row {row!r}; there are {', '.join(rows[experiment])}"
                )
            if not isinstance(text, str) or not text.strip():
                raise ConfigError(f"{path}: {experiment}, row {row!r}: should be text")
            found[experiment, row] = " ".join(text.split())
    return found
