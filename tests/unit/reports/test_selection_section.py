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
from results.selection import CHOICES, FOLDER, keys_of, write_choices

RUN = {
    "method": "eps",
    "method_info": {"supervision": "I+S"},
    "settings": {"dataset": {"name": "shapes"}},
    "stages": [
        {"key": "c2", "kind": "cam", "shown": True},
        {"key": "w", "kind": "weights", "shown": True},
        {"key": "inner", "kind": "cam", "shown": False},
        {"key": "c1", "kind": "pseudo_label", "shown": True},
        {"kind": "prediction", "shown": True},
    ],
}
KEYS = ["c1", "c2"]
CHOSEN = {"kind": "cam", "entry": "eps", "rank": 1, "threshold": 0.3}
PREDICTED = {"predicted": 0.523, "low": 0.41, "high": 0.634}


def shown(folder: Path) -> dict[str, Any] | None:
    return selection.build([SimpleNamespace(path=folder, runs=[RUN])])  # type: ignore[list-item]


def page(data: dict[str, Any]) -> str:
    return environment().get_template("sections/selection.html").render(s=data)


def test_choices_and_warnings_are_shown(tmp_path: Path) -> None:
    assert shown(tmp_path) is None
    (tmp_path / FOLDER).mkdir()
    label = {"kind": "pseudo_label", "entry": "eps:<crf>", "rank": 2, "threshold": None, **PREDICTED}
    write_choices(
        tmp_path / FOLDER,
        {
            "warnings": ["one data set"],
            "level": 18 / 19,
            "keys": KEYS,
            "choices": [{**CHOSEN, **PREDICTED}, label],
        },
    )
    data = shown(tmp_path)
    assert data is not None
    assert [group["title"] for group in data["groups"]] == ["CAMs (train)", "Pseudo-labels (train)"]
    text = page(data)
    assert "41.0 to 63.4" in text
    assert "0.30" in text
    assert "Warning: one data set" in text
    assert "eps:&lt;crf&gt;" in text
    assert "with intervals of 94.7 %" in text
    assert "earlier state" not in text


def test_nothing_is_predicted_without_a_calibration(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_choices(tmp_path / FOLDER, {"warnings": [], "level": None, "keys": KEYS, "choices": [CHOSEN]})
    data = shown(tmp_path)
    assert data is not None
    assert "Predicted" not in page(data)


def test_choices_of_an_earlier_state_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    for keys in (["c1"], ["c1", "c2", "c3"]):
        document = {"warnings": [], "level": None, "keys": keys, "choices": [CHOSEN]}
        write_choices(tmp_path / FOLDER, document)
        data = shown(tmp_path)
        assert data is not None
        assert "of an earlier state of the run; run <code>select</code> again" in page(data)


@pytest.mark.parametrize(
    "change", [{"method": "external/x"}, {"method_info": {"supervision": "M"}}, {"stages": []}]
)
def test_what_is_not_chosen_among_has_no_keys(change: dict[str, Any]) -> None:
    assert keys_of([RUN]) == KEYS
    assert keys_of([{**RUN, **change}]) == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"choices": [{}], "warnings": [], "level": 0.9, "keys": []}',
        '{"choices": [[]], "warnings": [], "level": 0.9, "keys": []}',
        '{"choices": [], "warnings": [], "level": 0.9}',
        '{"choices": [], "warnings": [], "level": "0.9", "keys": []}',
        '{"choices": [], "warnings": [[]], "level": 0.9, "keys": []}',
        json.dumps({"choices": [{**CHOSEN, "threshold": "x"}], "warnings": [], "level": None, "keys": []}),
        json.dumps({"choices": [{**CHOSEN, "predicted": 0.5}], "warnings": [], "level": 0.9, "keys": []}),
        "[" * 100_000,
    ],
    ids=range(10),
)
def test_damage_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / CHOICES).write_text(text)
    with pytest.raises(DataError, match="run `select` again") as error:
        shown(tmp_path)
    assert "\n" not in str(error.value)


def test_a_number_that_was_changed_by_a_fault_is_noticed(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    write_choices(tmp_path / FOLDER, {"warnings": [], "level": None, "keys": [], "choices": [CHOSEN]})
    path = tmp_path / FOLDER / CHOICES
    path.write_text(path.read_text().replace("0.3", "0.7"))
    with pytest.raises(DataError, match="damaged"):
        shown(tmp_path)
