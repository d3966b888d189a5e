"""A run's files: what is written comes back, and damage is one clear line."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from datasets.base import DataError
from results.io import read_run, write_records
from results.schema import COLUMNS, SCHEMA_VERSION, Record, RunRecord

RECORD = Record(
    "shapes", "eps", "nano", "paper", "own", "own", 0, "cam", "fixed", "train", "miou", 0.5, threshold=0.3
)
RUN = RunRecord(
    "shapes", "eps", "nano", "paper", "own", "own", 0, "done", settings={"root": Path("data"), "β": 0.4}
)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    other = replace(RECORD, variant="", class_name="boat", threshold=math.nan, value=math.nan)
    write_records(tmp_path / "run", [RECORD, other], [RUN])
    stored = read_run(tmp_path / "run")
    assert tuple(stored.records.columns) == COLUMNS
    assert stored.records.iloc[0]["value"] == 0.5
    assert stored.records.iloc[1]["variant"] == ""
    assert math.isnan(stored.records.iloc[1]["value"])
    assert stored.records["seed"].dtype == "int64"
    assert stored.runs[0]["settings"] == {"root": "data", "β": 0.4}
    assert stored.path == tmp_path / "run"
    csv = pd.read_csv(tmp_path / "run" / "records.csv")
    assert tuple(csv.columns) == COLUMNS
    assert len(csv) == 2


def test_writing_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    write_records(tmp_path, [RECORD, replace(RECORD, seed=1)], [RUN])
    assert len(read_run(tmp_path).records) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cells.json",
        "records.csv",
        "records.parquet",
    ]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    before = (tmp_path / "records.parquet").read_bytes()

    def full_disk(self: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_records(tmp_path, [], [])
    assert (tmp_path / "records.parquet").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_empty_run_keeps_the_columns(tmp_path: Path) -> None:
    write_records(tmp_path, [], [])
    stored = read_run(tmp_path)
    assert tuple(stored.records.columns) == COLUMNS
    assert stored.runs == []


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not a run folder \(records.parquet is missing\)"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["records.parquet", "cells.json"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    (tmp_path / name).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="damaged") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_schema_version(tmp_path: Path) -> None:
    write_records(tmp_path, [replace(RECORD, schema_version=SCHEMA_VERSION + 1)], [RUN])
    with pytest.raises(
        DataError, match=f"schema version {SCHEMA_VERSION + 1}, this version reads {SCHEMA_VERSION}"
    ):
        read_run(tmp_path)
    write_records(tmp_path, [RECORD], [RUN])
    (tmp_path / "cells.json").write_text(json.dumps({"schema_version": 0, "cells": []}))
    with pytest.raises(DataError, match="schema version 0"):
        read_run(tmp_path)


def test_missing_column(tmp_path: Path) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    pd.read_parquet(tmp_path / "records.parquet").drop(columns="metric").to_parquet(
        tmp_path / "records.parquet"
    )
    with pytest.raises(DataError, match="no column metric"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("value", "0.5"), ("threshold", "high"), ("method", None), ("method", 3), ("method", b"eps"), ("method", ["eps"]),
     ("metric", math.nan), ("seed", "0"), ("seed", 0.5), ("seed", None), ("images", "7"), ("key", 1)],
)  # fmt: skip
def test_columns_of_another_type(tmp_path: Path, column: str, value: object) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    path = tmp_path / "records.parquet"
    pd.read_parquet(path).assign(**{column: pd.Series([value])}).to_parquet(path)
    with pytest.raises(
        DataError, match=rf"records\.parquet: damaged \(column {column} is of type .*\); move"
    ):
        read_run(tmp_path)


def test_a_number_that_is_there_twice(tmp_path: Path) -> None:
    write_records(tmp_path, [RECORD, replace(RECORD, value=0.6)], [RUN])
    with pytest.raises(DataError, match="a number is there twice"):
        read_run(tmp_path)


def test_a_flipped_bit_of_either_file_is_noticed(tmp_path: Path) -> None:
    """Of the runs every one; of the records those of their values: the frame around them has no checksum."""
    write_records(tmp_path, [replace(RECORD, seed=seed) for seed in range(50)], [RUN])
    whole = read_run(tmp_path)
    for name in ("cells.json", "records.parquet"):
        path = tmp_path / name
        content = path.read_bytes()
        for place in range(4, len(content) - 8, max(1, len(content) // 150)):
            flipped = bytearray(content)
            flipped[place] ^= 0x04
            path.write_bytes(flipped)
            with suppress(DataError):
                found = read_run(tmp_path)
                assert found.runs == whole.runs
                pd.testing.assert_frame_equal(found.records, whole.records)
        path.write_bytes(content)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "7", "null", '{"schema_version": 1, "cells": 3}', '{"schema_version": 1, "cells": [3]}',
        '{"schema_version": 1, "cells": [{}]}', '{"cells": []}', "[" * 100_000, '{"a":' * 100_000,
    ],
)  # fmt: skip
def test_runs_of_another_type(tmp_path: Path, text: str) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    (tmp_path / "cells.json").write_text(text)
    with pytest.raises(DataError, match="the run's files are damaged") as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"seed": "0"}, {"stages": {}}, {"stages": [1]}, {"stages": [{"name": 1}]},
                                    {"panels": [{}]}, {"method": None}, {"reason": 1}, {"stages": [{}]},
                                    {"stages": [{"name": "a", "seconds": "1"}]}, {"method_info": {"sources": [{}]}},
                                    {"method_info": {"deviations": "x"}}, {"panels": [{"id": "a", "image": 5}]},
                                    {"panels": [{"id": "a", "steps": [7]}]},
                                    {"settings": {"half a character": "\ud800"}}])  # fmt: skip
def test_fields_of_another_type(tmp_path: Path, change: dict) -> None:
    write_records(tmp_path, [RECORD], [RUN])
    path = tmp_path / "cells.json"
    document = json.loads(path.read_text()) | {"sha256": None}
    document["cells"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="the run's files are damaged"):
        read_run(tmp_path)
