"""The summary of the papers' tables: in the page, in Markdown, as data; names are escaped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from reports import build_reports
from reports.experiments_summary import write_summary
from reports.reproduction import cells, counts, directions_table
from results.directions import Direction, judged, read_directions, write_directions
from tests.helpers.synthetic_runs import synthetic_run

HOSTILE = "<script>alert(1)</script>"
FOUND = (
    Direction("it/t", "CAM", "all", "none", 6.0, 4.25, 0.5, 0.5, 3, "oracle", "cam:miou:", "0123"),
    Direction("it/t", "CAM", "all", HOSTILE, 2.0, -3.0, 0.1, 0.1, 3, "oracle", diagnosis=f"why {HOSTILE}"),
    Direction("it/t", "CAM", "", "a … c", 0.4, 1.25, n=3, verdict="range", reason="3 rows: paper 1 to 2"),
    Direction("it/t", "CAM", "all", "maps", 2.0, verdict="not run", reason="needs maps"),
)


def test_comparisons_in_text() -> None:
    found = judged(FOUND)
    table = pd.DataFrame(found)
    assert counts(table) == {
        "reproduced": 1, "smaller than half": 0, "reversed": 1, "inconclusive": 0, "range": 1, "not run": 1
    }  # fmt: skip
    rows = [cells(row) for row in table.to_dict("records")]
    assert rows[0]["compared"] == "all against none"
    assert (rows[0]["paper"], rows[0]["here"]) == ("+6.00", "+4.25")
    assert rows[0]["interval"] == f"{found[0].low:+.2f} to {found[0].high:+.2f}"
    assert rows[0]["share"] == f"71 % ({100 * found[0].low / 6:.0f} to {100 * found[0].high / 6:.0f})"
    assert rows[0]["threshold"] == "oracle"
    assert rows[0]["p"] == f"{found[0].p_holm:.3f}"[1:]
    assert rows[1]["here"] == "−3.00"
    assert (rows[2]["compared"], rows[2]["paper"], rows[2]["here"]) == ("a … c", "within 0.40", "within 1.25")
    assert {rows[3][name] for name in ("interval", "share", "p", "threshold")} == {"–"}
    caption = directions_table(table).caption
    said = "1 reproduced, 0 smaller than half, 1 reversed, 0 inconclusive, 1 range, 1 not run"
    assert caption.endswith(f"{said}.")
    twice = pd.DataFrame(judged([*FOUND, replace(FOUND[0], experiment="it/again", paper=5.0)]))
    assert directions_table(twice).caption.endswith(f"{said}; 1 more rows show again what another table has.")


def test_what_has_no_diagnosis_is_said_and_counted() -> None:
    table = pd.DataFrame(judged([replace(d, diagnosis="", place="shapes-nano") for d in FOUND]))
    remarks = [cells(row)["remark"] for row in table.to_dict("records")]
    assert remarks == ["", "no diagnosis yet", "3 rows: paper 1 to 2", "needs maps"]
    shown = directions_table(table)
    assert "1 smaller than half or reversed without a diagnosis" in shown.caption
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
