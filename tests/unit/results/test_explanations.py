"""Ledgers in a run's folder are read as they were written, and damage is one line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from datasets.base import DataError
from reports.ledgers import conditions
from results.explanations import FOLDER, read_ledgers, write_ledger
from tests.helpers.damage import DAMAGE
from tests.helpers.synthetic_runs import made_up_ledger


def test_ledgers_are_read_as_they_were_written_and_by_name(tmp_path: Path) -> None:
    assert read_ledgers(tmp_path) == {}
    first, second = made_up_ledger(1), replace(made_up_ledger(3), score="cam", settings=("dataset.seed=1",))
    write_ledger(tmp_path / FOLDER / "b.json", second)
    write_ledger(tmp_path / FOLDER / "a.json", first)
    assert list(read_ledgers(tmp_path).items()) == [("a", first), ("b", second)]
    assert (first.over, second.over) == ("images alone", "images and seeds")
    assert "with dataset.seed=1; 95 % intervals" in conditions(second)


def test_only_things_that_interact_depend_on_the_order() -> None:
    orders = [share.by_order for share in made_up_ledger().shares]
    assert orders == [(0.08, 0.102), None, None, (0.022, 0.044)]
    assert made_up_ledger().whole.by_order is None


@pytest.mark.parametrize("kind", ["flipped", "truncated", "emptied"])
def test_a_damaged_file_is_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FOLDER / "a.json"
    write_ledger(path, made_up_ledger())
    DAMAGE[kind](path)
    refused(tmp_path)


LEDGER: dict[str, Any] = json.loads(json.dumps(asdict(made_up_ledger())))
SHARE = LEDGER["shares"][0]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {**LEDGER, "a": 1},
        {**LEDGER, "shares": {}},
        {**LEDGER, "shares": [[]]},
        {**LEDGER, "shares": [{**SHARE, "gain": None}]},
        {**LEDGER, "shares": [{**SHARE, "gain": float("nan")}]},
        {**LEDGER, "shares": [{**SHARE, "low": float("-inf")}]},
        {**LEDGER, "shares": [{**SHARE, "high": 57.3}]},
        {**LEDGER, "shares": [{**SHARE, "more": 1}]},
        {**LEDGER, "shares": [{**SHARE, "what": "\ud800"}]},
        {**LEDGER, "seeds": ["0"]},
        {**LEDGER, "seeds": []},
        {**LEDGER, "settings": [1]},
        {**LEDGER, "start": 1.2},
        {**LEDGER, "b": "\ud800"},
        {**LEDGER, "more": 1},
        {name: value for name, value in LEDGER.items() if name != "whole"},
    ],
)
def test_what_is_no_ledger_is_one_line(tmp_path: Path, document: Any) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a.json").write_text(json.dumps(document))
    refused(tmp_path)


def test_depth_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a.json").write_text('{"shares": ' + "[" * 100_000 + "]" * 100_000 + "}")
    refused(tmp_path)


def refused(run_dir: Path) -> None:
    with pytest.raises(DataError, match="run `explain` again") as error:
        read_ledgers(run_dir)
    assert "a.json: damaged" in str(error.value)
    assert "\n" not in str(error.value)
