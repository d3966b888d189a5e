"""The report's section of how many masks tell how much."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.base import DataError
from reports.sections import budget
from reports.templating import environment
from results.budget import DOCUMENT, FOLDER, write_budget

ENTRY = {"entry": "eps:<crf>", "value": 0.512, "low": 0.481, "high": 0.543, "plain": 0.52, "plain_low": 0.47,
         "plain_high": 0.57, "factor": 1.5}  # fmt: skip
FOUND = {
    "kind": "prediction", "split": "val", "images": 200, "masks": 40, "simulated": False, "level": 0.95,
    "entries": [ENTRY],
    "widths": [{"masks": 10, "plain": 0.2, "evidence": 0.15}, {"masks": 100, "plain": 0.05, "evidence": 0.04}],
    "pair": None, "label": 20, "advice": "label <20>", "warnings": ["one & alone"], "state": [],
}  # fmt: skip


def shown(folder: Path) -> dict[str, Any] | None:
    return budget.build([SimpleNamespace(path=folder, runs=[])])  # type: ignore[list-item]


def page(data: dict[str, Any]) -> str:
    return environment().get_template("sections/budget.html").render(s=data)


def test_estimates_advice_and_curve_are_shown(tmp_path: Path) -> None:
    assert shown(tmp_path) is None
    (tmp_path / FOLDER).mkdir()
    write_budget(tmp_path / FOLDER, FOUND)
    data = shown(tmp_path)
    assert data is not None
    text = page(data)
    assert "40 of 200 images have masks that count" in text
    assert "48.1 to 54.3" in text
    assert "47.0 to 57.0" in text
    assert text.count("<path") >= 2
    assert "in order" not in text
    assert "eps:&lt;crf&gt;" in text
    assert "label &lt;20&gt;" in text
    assert "Warning: one &amp; alone" in text


def test_of_a_simulation_coverage_is_shown(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    ways = ("plain", "evidence", "ordered")
    row = {"masks": 10, **dict.fromkeys(ways, 0.2), **{f"coverage_{way}": 0.94 for way in ways}}
    entry = {**ENTRY, "low": None, "high": None, "plain_low": None, "plain_high": None}
    write_budget(
        tmp_path / FOLDER,
        {
            **FOUND,
            "simulated": True,
            "entries": [entry],
            "widths": [row, {**row, "masks": 50, "coverage_plain": 0.96}],
        },
    )
    data = shown(tmp_path)
    assert data is not None
    text = page(data)
    assert "94 to 96 %" in text
    assert "images of label-next.csv in order" in text
    assert "Without evidence" not in text


def test_what_was_found_of_an_earlier_state_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    for state, stale in (([], False), (["p1 s1"], True)):
        write_budget(tmp_path / FOLDER, {**FOUND, "state": state})
        data = shown(tmp_path)
        assert data is not None
        assert ("of an earlier state of the run" in page(data)) == stale


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        json.dumps({"pair": None}),
        *(
            json.dumps({**FOUND, **odd})
            for odd in (
                {"entries": [{}]},
                {"entries": []},
                {"entries": [{**ENTRY, "factor": None}]},
                {"level": None},
                {"widths": []},
                {"pair": {"first": "a"}},
            )
        ),
    ],
    ids=range(10),
)
def test_damage_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / DOCUMENT).write_text(text)
    with pytest.raises(DataError, match="run `budget` again"):
        shown(tmp_path)
