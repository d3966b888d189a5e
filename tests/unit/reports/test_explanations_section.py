"""The report's ledgers: waterfall charts whose bars add up, tables below them, in every format."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from reports import build_reports
from reports.charts import Axis, Step, waterfall_chart
from reports.sections import explanations
from reports.templating import environment
from results.explanations import FOLDER, Share, write_ledger
from tests.helpers.synthetic_runs import CLASSES, HOSTILE, METHODS, made_up_ledger, synthetic_run


def shown(folder: Path) -> dict[str, Any] | None:
    return explanations.build([SimpleNamespace(path=folder)])  # type: ignore[list-item]


def page(data: dict[str, Any] | None) -> str:
    assert data is not None
    return environment().get_template("sections/explanations.html").render(s=data)


def test_ledgers_stand_one_after_the_other(tmp_path: Path) -> None:
    assert shown(tmp_path) is None
    write_ledger(tmp_path / FOLDER / "b.json", made_up_ledger(1))
    write_ledger(tmp_path / FOLDER / "a.json", replace(made_up_ledger(3), b="toco"))
    data = shown(tmp_path)
    text = page(data)
    assert [ledger["title"] for ledger in data["ledgers"]] == [  # type: ignore[index]
        "toco over cam:none:largefov",
        "eps:crf over cam:none:largefov",
    ]
    assert text.count("<svg") == 2
    assert text.count("say nothing of the spread over seeds") == 1
    assert "+3.3" in text
    assert "+2.0 to +4.6" in text
    assert "+2.2 to +4.4" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    write_ledger(tmp_path / FOLDER / "a.json", made_up_ledger(hostile=HOSTILE))
    text = page(shown(tmp_path))
    assert "<script" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)" in text


def test_a_ledger_without_interactions_has_no_column_for_them(tmp_path: Path) -> None:
    share = Share("refiner", 0.11, 0.08, 0.14, 0.11, 0.11, "refiner of the pseudo-labels")
    write_ledger(tmp_path / FOLDER / "a.json", replace(made_up_ledger(), shares=(share,)))
    assert "By order" not in page(shown(tmp_path))


def test_a_waterfalls_bars_lead_from_one_end_to_the_other() -> None:
    steps = [Step("up", 10, 8, 12, "+10.0"), Step("down", -4, -5, -3, "−4.0")]
    svg = waterfall_chart(("A", 40), steps, ("B", 46), Axis("mIoU (%)"), "a chart")
    bars = [
        tuple(map(float, found))
        for found in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)
    ]
    start, end = (float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg))
    (up, up_wide), (down, down_wide) = bars
    assert up == pytest.approx(start, abs=0.11)
    assert down + down_wide == pytest.approx(up + up_wide, abs=0.11)
    assert down == pytest.approx(end, abs=0.11)
    assert up_wide / down_wide == pytest.approx(10 / 4, abs=0.05)
    assert re.findall(r'class="step (\w+)"', svg) == ["end", "end", "up", "down"]
    assert 'role="img" aria-label="a chart"' in svg


def test_ledgers_are_in_the_other_formats(tmp_path: Path) -> None:
    run_dir = synthetic_run(tmp_path, seeds=2, methods=METHODS[:2], classes=CLASSES[:3], images=0)
    build_reports(run_dir, formats=["markdown", "latex", "csv"])
    assert "Where a gain comes from" in (run_dir / "report.md").read_text()
    assert "refiner of the pseudo-labels" in (run_dir / "report.md").read_text()
    assert "tab:explanation-cam-eps-pseudo-label" in (run_dir / "tables.tex").read_text()
    table = pd.read_csv(run_dir / "tables" / "explanations.csv", keep_default_na=False)
    assert table["name"].tolist() == ["method", "train", "background_threshold", "refiner", ""]
    assert table["gain"].sum() == pytest.approx(2 * 0.11)
