"""The summary of the papers' tables: in the page, in Markdown, as data; names are escaped."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from reports import build_reports
from reports.experiments_summary import write_summary
from reports.reproduction import cells, counts, directions_table
from results.directions import Direction, read_directions, write_directions
from tests.helpers.synthetic_runs import synthetic_run

HOSTILE = "<script>alert(1)</script>"
NOTHING = math.nan
FOUND = (
    Direction("it/t", "CAM", "all", "none", 6.0, 4.25, 1.5, 7.0, 3, "reproduced"),
    Direction(
        "it/t", "CAM", "all", HOSTILE, 2.0, -3.0, -5.0, -1.0, 3, "not reproduced", "", f"why {HOSTILE}"
    ),
    Direction("it/t", "CAM", "", "a … c", 0.4, 1.25, NOTHING, NOTHING, 3, "range", "3 rows: paper 1 to 2"),
    Direction("it/t", "CAM", "all", "maps", 2.0, NOTHING, NOTHING, NOTHING, 0, "not run", "needs maps"),
)


def test_comparisons_in_text() -> None:
    table = pd.DataFrame(FOUND)
    assert counts(table) == {
        "reproduced": 1, "not reproduced": 1, "inconclusive": 0, "range": 1, "not run": 1
    }  # fmt: skip
    rows = [cells(row) for row in table.to_dict("records")]
    assert rows[0]["compared"] == "all against none"
    assert (rows[0]["paper"], rows[0]["here"], rows[0]["interval"]) == ("+6.00", "+4.25", "+1.50 to +7.00")
    assert rows[1]["here"] == "−3.00"
    assert (rows[2]["compared"], rows[2]["paper"], rows[2]["here"]) == ("a … c", "within 0.40", "within 1.25")
    assert rows[3]["interval"] == "–"
    caption = directions_table(table).caption
    assert caption.endswith("1 reproduced, 1 not reproduced, 0 inconclusive, 1 range, 1 not run.")


def test_what_has_no_diagnosis_is_said_and_counted() -> None:
    table = pd.DataFrame([replace(d, diagnosis="", place="shapes-nano") for d in FOUND])
    remarks = [cells(row)["remark"] for row in table.to_dict("records")]
    assert remarks == ["", "no diagnosis yet", "3 rows: paper 1 to 2", "needs maps"]
    shown = directions_table(table)
    assert "1 not reproduced without a diagnosis" in shown.caption
    assert shown.rows[0][0] == "it/t (shapes-nano), CAM"
    changed = table.assign(conditions="method.m.steps=5")  # a diagnosis is of the table as set
    shown = directions_table(changed)
    assert "diagnosis" not in shown.caption
    assert shown.rows[0][0] == "it/t (shapes-nano, method.m.steps=5), CAM"
    assert [cells(row)["remark"] for row in changed.to_dict("records")][1] == ""


def test_a_folder_without_experiments_has_no_summary(tmp_path: Path) -> None:
    assert write_summary(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_it_stands_in_every_report(tmp_path: Path) -> None:
    run_dir = synthetic_run(tmp_path / "run", seeds=2)
    folder = run_dir / "experiments"
    write_directions(folder, "it-t-shapes-nano", FOUND)
    build_reports(run_dir)
    paths = {path.suffix: path for path in write_summary(folder)}
    for page in (run_dir / "report.html", paths[".html"]):
        text = page.read_text()
        assert "What reproduces" in text
        assert "all against none" in text
        assert HOSTILE not in text
        assert "why &lt;script&gt;" in text
    assert "all against none" in (run_dir / "report.md").read_text()
    assert "all against none" in paths[".md"].read_text()
    exported = pd.read_csv(run_dir / "tables" / "reproduction.csv")
    assert exported["verdict"].tolist() == read_directions(folder)["verdict"].tolist()
