"""What a method declares in YAML beside its module: `deviations.yaml` and `experiments.yaml`. Light to import.

# deviations.yaml
- topic: momentum of SGD
  paper: not stated
  code: 5e-4
  ours: the code's
  why: the code produced the paper's numbers
- {from: mctformer}                     # all of another method's
- {from: toco, topics: [projector]}     # some of them

# experiments.yaml: by name; keys are those of `methods.experiment`
table3:
  title: Map selection (Tab. 3)
  columns: [pseudo-label]
  scores: [pseudo_label]                # of all rows that have none of their own
  rows:
    - {label: naive, reported: eps/Tab. 3/naive, settings: [map_selection=naive]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from datasets.limits import suggestion
from methods.deviation import Deviation
from methods.errors import MethodError
from methods.experiment import Experiment

T = TypeVar("T")
DEVIATIONS, EXPERIMENTS = "deviations.yaml", "experiments.yaml"
_METHODS = Path(__file__).parent


@cache
def deviations_in(folder: Path) -> tuple[Deviation, ...]:
    """A method's own, and those of other methods that it names; () without a file. Raises MethodError."""
    path = folder / DEVIATIONS
    document = _read(path, [])
    if not isinstance(document, list):
        raise MethodError(f"{path}: should be a list of deviations")
    found: list[Deviation] = []
    for number, entry in enumerate(document, 1):
        found += _of_entry(entry, f"{path}: entry {number}")
    return tuple(found)


@cache
def deviations_of_parts(folder: Path) -> Mapping[str, tuple[Deviation, ...]]:
    """Those of parts that methods share, by part: the file maps names to lists. Raises MethodError."""
    path = folder / DEVIATIONS
    document = _read(path, {})
    if not isinstance(document, dict) or not all(isinstance(part, list) for part in document.values()):
        raise MethodError(f"{path}: should map parts to lists of deviations")
    return {
        part: tuple(
            parsed(Deviation, entry, f"{path}: {part}: entry {n}") for n, entry in enumerate(entries, 1)
        )
        for part, entries in document.items()
    }


@cache
def experiments_in(folder: Path) -> tuple[Experiment, ...]:
    """A method's experiments; () without a file. Raises MethodError."""
    path = folder / EXPERIMENTS
    document = _read(path, {})
    if not isinstance(document, dict):
        raise MethodError(f"{path}: should map names to experiments")
    return tuple(_experiment(name, entry, f"{path}: {name}") for name, entry in document.items())


def _read(path: Path, empty: Any) -> Any:
    import yaml

    if not path.is_file():
        return empty
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or empty
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MethodError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def _of_entry(entry: Any, where: str) -> list[Deviation]:
    if not (isinstance(entry, dict) and "from" in entry):
        return [parsed(Deviation, entry, where)]
    source = _METHODS / str(entry["from"])
    if not (source / DEVIATIONS).is_file():
        raise MethodError(f"{where}: there is no {source / DEVIATIONS}")
    if unknown := set(entry) - {"from", "topics"}:
        raise MethodError(f"{where}: no key {min(unknown)!r} beside from; there is topics")
    theirs = {deviation.topic: deviation for deviation in deviations_in(source)}
    topics = entry.get("topics", list(theirs))
    if missing := [topic for topic in topics if topic not in theirs]:
        raise MethodError(f"{where}: {source.name} has no topic {missing[0]!r}; {suggestion(missing[0], list(theirs))}"
                          f"there are {', '.join(theirs)}")  # fmt: skip
    return [theirs[topic] for topic in topics]


def _experiment(name: str, entry: Any, where: str) -> Experiment:
    if isinstance(entry, dict):
        entry = {"name": name, **entry}
        scores = entry.pop("scores", None)
        if scores is not None and isinstance(entry.get("rows"), list):
            rows = [{"scores": scores, **row} if isinstance(row, dict) else row for row in entry["rows"]]
            entry["rows"] = rows
    found = parsed(Experiment, entry, where)
    for row in found.rows:
        if len(row.scores) != len(found.columns):
            raise MethodError(
                f"{where}: row {row.label!r} has {len(row.scores)} scores for {len(found.columns)} columns"
            )
    known = {row.label for row in found.rows}, set(found.columns)
    for claim in found.claims:
        for kind, options, values in zip(
            ("row", "column"),
            known,
            ((claim.row, claim.than), (claim.column, claim.than_column or claim.column)),
        ):
            if missing := [value for value in values if value not in options]:
                raise MethodError(f"{where}: a claim names {kind} {missing[0]!r}, which is not there")
    return found


def parsed(kind: type[T], data: Any, where: str) -> T:
    """A dataclass of text, tuples and dataclasses from plain data; MethodError that says `where` for what it is not."""
    hints = get_type_hints(kind)
    if not isinstance(data, dict):
        raise MethodError(f"{where}: should map {', '.join(hints)} to text")
    if unknown := [key for key in data if key not in hints]:
        near = suggestion(str(unknown[0]), list(hints))
        raise MethodError(f"{where}: no key {unknown[0]!r}; {near}there are {', '.join(hints)}")
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
    if missing := [name for name in needed if name not in data]:
        raise MethodError(f"{where}: {missing[0]} is missing")
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in data.items()})


def _value(declared: Any, value: Any, where: str) -> Any:
    if get_origin(declared) is tuple:
        if not isinstance(value, list):
            raise MethodError(f"{where}: should be a list")
        return tuple(_value(get_args(declared)[0], each, f"{where} {n}") for n, each in enumerate(value, 1))
    if is_dataclass(declared):
        return parsed(declared, value, where)  # type: ignore[arg-type]
    if not isinstance(value, str):
        raise MethodError(f"{where}: should be text, and is {value!r}; put it between quotes")
    return value
