"""No cell of a CSV is a formula to a spreadsheet, and names come back as they were."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from results.csv_cells import harmless, original, read_csv, to_csv
from results.io import write_records
from results.schema import Record, RunRecord

FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "-",
    "'=1",
    "''-x",
    "=",
    "- 1",
    "+ 3",
]
HARMLESS = ["", "cat", "a=b", "-0.5", "+3", "1e-3", "-1e5", "-inf", "'", "it's", "'cat'", "α-β"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_calculate_is_shown_as_it_is(text):
    assert harmless(text) == f"'{text}"
    assert original(harmless(text)) == text


@pytest.mark.parametrize("text", [*HARMLESS, 1, -2.5, None])
def test_anything_else_stays(text):
    assert harmless(text) == text
    assert original(harmless(text)) == text


def test_tables_come_back(tmp_path: Path):
    frame = pd.DataFrame({"row": FORMULAS, "=column": FORMULAS[::-1], "n": range(len(FORMULAS)), "x": -0.5})
    to_csv(frame, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [c for c in cells if c[:1] in "=+@\t\r\n" and c]
    assert {c for c in cells if c.startswith("-")} == {"-0.5"}
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv", ["n", "x"]), frame, check_dtype=False)


def test_records_of_hostile_class_names(tmp_path: Path):
    name = '=HYPERLINK("http://evil")'
    identity = ("folder", "eps", "nano", "paper", "own", "own", 0)
    record = Record(*identity, "cam", "fixed", "train", "iou", -0.5, class_name=name)
    write_records(tmp_path, [record], [RunRecord(*identity, "done")])
    with (tmp_path / "records.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["class_name"] == f"'{name}"
    assert row["value"] == "-0.5"
