"""Reading and writing a run folder: `records.parquet`, the same as `records.csv`, and `cells.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.base import DataError
from datasets.files.sealed import read_sealed, sealed
from results.csv_cells import to_csv
from results.schema import COLUMNS, SCHEMA_VERSION, Record, RunRecord

if TYPE_CHECKING:
    import pandas as pd

RECORDS_FILE = "records.parquet"
RECORDS_CSV = "records.csv"
RUNS_FILE = "cells.json"

REMEDY = "move the folder away and run its commands again: what the store holds is not computed anew"

_TEXTS = ("title", "paper", "summary", "supervision", "reported_as", "schedule")
_NUMBER = int | float | None
_SHAPES: dict[str, Any] = {
    "method_info": {
        **{f"{name}?": str for name in _TEXTS},
        "deviations?": [dict.fromkeys(("topic", "paper", "code", "ours", "why"), str)],
        "sources?": [{"chosen_by": str, "source": str, "values": [str]}],
    },
    "stages": [
        {"name": str, "key?": str, "kind?": str, "path?": str, "notes?": [str], "score?": dict | None}
        | {f"{name}?": _NUMBER for name in ("seconds", "bytes", "step_seconds", "wait_share", "images", "threads")}
        | {f"{name}?": _NUMBER for name in ("host_memory_mb", "device_memory_mb")}
    ],
    "panels": [
        {"id": str, "labels?": [str], "steps?": [{"name": str, "picture": str | None}]}
        | {f"{name}?": str | None for name in ("image", "truth", "cam", "pseudo_label", "prediction")}
    ],
}  # fmt: skip
"""Types of what reports read of a run; with "?" what may be absent."""

_INTEGERS = ("schema_version", "seed", "images")
_FLOATS = ("value", "threshold")


@dataclass(frozen=True)
class StoredRuns:
    """A run folder read back: numbers (columns `COLUMNS`), runs (`RunRecord` as plain data) and folder."""

    records: pd.DataFrame
    runs: list[dict[str, Any]]
    path: Path


def write_records(run_dir: Path, records: Iterable[Record], runs: Iterable[RunRecord]) -> None:
    """Write a run folder's files anew; `results.merge.add_records` keeps what is there."""
    write_run(run_dir, records_frame(records), [run.as_dict() for run in runs])


def write_run(run_dir: Path, frame: pd.DataFrame, runs: Sequence[dict[str, Any]]) -> None:
    """Write a run folder's files; each appears whole or not at all, `cells.json` last.

    frame: records (columns `COLUMNS`); runs: `RunRecord`s as plain data
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    replace_file(
        run_dir / RECORDS_FILE, lambda path: frame.to_parquet(path, index=False, write_page_checksum=True)
    )
    replace_file(run_dir / RECORDS_CSV, lambda path: to_csv(frame, path))
    write_run_records(run_dir, runs)


def write_run_records(run_dir: Path, runs: Sequence[dict[str, Any]]) -> None:
    """Write the runs of a folder beside its records."""
    document = {"schema_version": SCHEMA_VERSION, "cells": list(runs)}
    text = json.dumps(sealed(document), indent=1, ensure_ascii=False)
    replace_file(run_dir / RUNS_FILE, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def records_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a table with columns `COLUMNS`; also typed when there is no record."""
    import pandas as pd

    frame = pd.DataFrame([asdict(record) for record in records], columns=list(COLUMNS))
    types = {c: "int64" if c in _INTEGERS else "float64" if c in _FLOATS else "str" for c in COLUMNS}
    return frame.astype(types)


def read_run(run_dir: Path) -> StoredRuns:
    """Read a run folder. Raises DataError if it is not one, is damaged or has another schema version."""
    records_path, runs_path = run_dir / RECORDS_FILE, run_dir / RUNS_FILE
    if missing := [path.name for path in (records_path, runs_path) if not path.is_file()]:
        remedy = "give a folder that `run` wrote"
        raise DataError(
            f"{run_dir}: not a run folder ({missing[0]} is missing); {remedy if missing[1:] else REMEDY}"
        )
    try:
        document = read_sealed(runs_path)
        records = _read_table(records_path)
        version, runs = document["schema_version"], document["cells"]
        check_types(runs)
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{run_dir}: the run's files are damaged ({reason}); {REMEDY}") from error
    _check_version(version, runs_path)
    for found in records["schema_version"].unique() if "schema_version" in records.columns else ():
        _check_version(found, records_path)
    try:
        _check_columns(records)
    except ValueError as error:
        raise DataError(f"{records_path}: damaged ({error}); {REMEDY}") from None
    return StoredRuns(records[list(COLUMNS)], runs, run_dir)


def _read_table(path: Path) -> pd.DataFrame:
    """ValueError for a damaged file."""
    import pandas as pd

    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except Exception as error:  # of pyarrow's many sorts, and of pandas' for the description of its columns
        raise ValueError(f"{path.name}: {error}") from error


def check_types(runs: Any) -> None:
    """ValueError, TypeError or KeyError unless they are `RunRecord`s as plain data; later fields may be absent."""
    kinds = {"str": str, "int": int, "dict": dict, "list": list}
    for run in runs:
        RunRecord(**run)  # every field that has no default, and no other
        for each in fields(RunRecord):
            if each.name in run and not isinstance(run[each.name], kinds[str(each.type).partition("[")[0]]):
                raise ValueError(f"{each.name} is {run[each.name]!r:.60}")
        for part, shape in _SHAPES.items():
            require_shape(run.get(part) or {}, shape, part)
        json.dumps(run, ensure_ascii=False).encode()  # UnicodeEncodeError for half of a character


def require_shape(value: Any, shape: Any, where: str) -> None:
    """ValueError unless a value is of a type, a list of such, or a dictionary whose fields are."""
    if isinstance(shape, list) and isinstance(value, list | dict) and (isinstance(value, list) or not value):
        for each in value:
            require_shape(each, shape[0], where)
    elif isinstance(shape, dict) and isinstance(value, dict):
        for name, inner in shape.items():
            needed = not name.endswith("?")
            if needed or name[:-1] in value:
                require_shape(value.get(name.removesuffix("?")), inner, f"{where}: {name.removesuffix('?')}")
    elif isinstance(shape, list | dict) or not isinstance(value, shape):
        raise ValueError(f"{where} is {value!r:.60}")


def _check_columns(records: pd.DataFrame) -> None:
    """ValueError unless every column is there, has its type and no gaps, and no number is there twice."""
    from pandas.api.types import is_float_dtype, is_integer_dtype, is_string_dtype

    for name in COLUMNS:
        if name not in records.columns:
            raise ValueError(f"no column {name}")
        column = records[name]
        if name in _FLOATS:
            sound = is_float_dtype(column)  # a gap is a score that there is none of
        else:
            typed = is_integer_dtype(column) if name in _INTEGERS else is_string_dtype(column)
            sound = not len(column) or (typed and not column.isna().any())
        if not sound:
            raise ValueError(f"column {name} is of type {column.dtype}, or has gaps")
    if records.duplicated([name for name in COLUMNS if name not in ("value", "images")]).any():
        raise ValueError("a number is there twice")


def _check_version(found: Any, path: Path) -> None:
    if found != SCHEMA_VERSION:
        raise DataError(
            f"{path}: records have schema version {found}, this version reads {SCHEMA_VERSION}; {REMEDY}"
        )


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all. write: given the path to write to, beside it"""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
