"""The report's section of what was chosen without masks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets.base import DataError
from reports.sections import selection
from reports.templating import environment
from results.selection import CHOICES, FOLDER, write_choices

CHOSEN = {"kind": "cam", "entry": "eps", "rank": 1, "threshold": 0.3}
PREDICTED = {"predicted": 0.523, "low": 0.41, "high": 0.634}


def shown(folder: Path) -> dict[str, Any] | None:
    return selection.build([SimpleNamespace(path=folder)])  # type: ignore[list-item]


def page(data: dict[str, Any]) -> str:
    return environment().get_template("sections/selection.html").render(s=data)


def test_choices_and_warnings_are_shown(tmp_path: Path) -> None:
    assert shown(tmp_path) is None
    (tmp_path / FOLDER).mkdir()
    label = {"kind": "pseudo_label", "entry": "eps:<crf>", "rank": 2, "threshold": None, **PREDICTED}
    write_choices(
        tmp_path / FOLDER,
        {"warnings": ["one data set"], "level": 0.95, "choices": [{**CHOSEN, **PREDICTED}, label]},
    )
    data = shown(tmp_path)
    assert data is not None
    assert [group["title"] for group in data["groups"]] == ["CAMs (train)", "Pseudo-labels (train)"]
    text = page(data)
    assert "41.0 to 63.4" in text
    assert "0.30" in text
    assert "Warning: one data set" in text
    assert "eps:&lt;crf&gt;" in text


def test_nothing_is_predicted_without_a_calibration(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_choices(tmp_path / FOLDER, {"warnings": [], "level": None, "choices": [CHOSEN]})
    data = shown(tmp_path)
    assert data is not None
    assert "Predicted" not in page(data)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"choices": [{}], "warnings": [], "level": 1}', "[" * 50_000,
        *(
            json.dumps({"choices": [{**CHOSEN, **PREDICTED, **odd}], "warnings": [], "level": None})
            for odd in ({"threshold": "x"}, {"predicted": []}, {"low": {}}, {"entry": 5}, {"high": float("nan")})
        ),
        '{"choices": [], "warnings": [], "level": "x"}',
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / CHOICES).write_text(text)
    with pytest.raises(DataError, match="run `select` again"):
        shown(tmp_path)


def test_a_number_that_was_changed_by_a_fault_is_noticed(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_choices(tmp_path / FOLDER, {"warnings": [], "level": None, "choices": [CHOSEN]})
    path = tmp_path / FOLDER / CHOICES
    path.write_text(path.read_text().replace("0.3", "0.7"))
    with pytest.raises(DataError, match="damaged"):
        shown(tmp_path)
