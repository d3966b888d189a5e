"""Accepted bundles as they are read: changes by hand are noticed, runs of several are put together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.base import DataError
from results.io import write_run
from results.merge import identity
from results.submissions import ENTRY, pooled, read_submission, read_submissions
from tests.helpers.accepted import made_up_submission


@pytest.mark.parametrize(
    ("before", "after"),
    [('"consistent"', '"re-run"'), ('"level": "consistent"', '"level": "perfect"'), ("{", "")],
)
def test_an_entry_changed_by_hand_is_refused(tmp_path: Path, before: str, after: str) -> None:
    made_up_submission(tmp_path / "one")
    path = tmp_path / "one" / ENTRY
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(DataError, match="accept the bundle again") as error:
        read_submission(tmp_path / "one")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("form", "submitter", 5), ("form", "hours", "x"), ("form", "hardware", None), ("verification", "level", []),
        ("verification", "date", 5), ("verification", "checks", [5]), ("bundle", "sha256", 5), ("dataset", "splits", []),
        ("bundle", "address", "javascript:alert(1)"), ("counts", "ab", 5), ("maps", "ab", []), ("dataset", "name", None),
    ],
)  # fmt: skip
def test_an_entry_of_odd_types_is_refused(tmp_path: Path, part: str, name: str, value: object) -> None:
    made_up_submission(tmp_path / "one")
    path = tmp_path / "one" / ENTRY
    document = json.loads(path.read_text())
    del document["sha256"]
    document[part][name] = value
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="accept the bundle again") as error:
        read_submissions(tmp_path)
    assert "\n" not in str(error.value)


def test_an_entry_without_a_run_is_refused(tmp_path: Path) -> None:
    found = made_up_submission(tmp_path / "one")
    write_run(tmp_path / "one", found.stored.records.iloc[:0], [])
    with pytest.raises(DataError, match="no run"):
        read_submissions(tmp_path)


def test_a_damaged_entry_can_be_left_out_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made_up_submission(tmp_path / name)
    (tmp_path / "a" / ENTRY).write_text("{")
    assert [each.stored.path.name for each in read_submissions(tmp_path, but="a")] == ["b"]
    with pytest.raises(DataError, match="or remove its folder"):
        read_submissions(tmp_path, but="b")


def test_the_one_verified_further_comes_first_and_its_runs_stand(tmp_path: Path) -> None:
    made_up_submission(tmp_path / "a", "A", "consistent", raised=0.1)
    made_up_submission(tmp_path / "b", "B", "re-scored")
    found = read_submissions(tmp_path)
    assert [each.form["submitter"] for each in found] == ["B", "A"]
    whole = pooled(found, tmp_path / "run")
    assert list(map(identity, whole.runs)) == list(map(identity, found[0].stored.runs))
    assert len(whole.records) == len(found[0].stored.records)
    assert whole.records["value"].sum() == pytest.approx(found[0].stored.records["value"].sum())
