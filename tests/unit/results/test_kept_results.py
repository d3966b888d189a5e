"""What the repository keeps of the project's own runs is whole, and its diagnoses are those of the methods."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import results
from benchmark.experiments.diagnoses import diagnoses_of, diagnosis_of
from methods.registry import find_method

MEASURED = Path(results.__file__).parent / "measured"
PLACES = ("shapes-nano", "bluefilm-nano")
SEEDS = 3


def test_every_kept_folder_is_looked_at() -> None:
    assert {folder.name for folder in MEASURED.iterdir() if folder.is_dir()} == set(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_what_does_not_reproduce_is_diagnosed_as_the_methods_say(place: str) -> None:
    found = pd.read_csv(MEASURED / place / "summary.csv", keep_default_na=False)
    assert len(found)
    refuted = found[found["verdict"] == "not reproduced"]
    for row in refuted.to_dict("records"):
        method, _, experiment = row["experiment"].partition("/")
        known = diagnoses_of(find_method(method))
        text = diagnosis_of(known, place, experiment, row["row"], row["column"])
        assert row["diagnosis"] == text != "", (row["experiment"], row["row"], row["column"])


@pytest.mark.parametrize("place", PLACES)
def test_every_comparison_that_could_be_run_has_all_seeds(place: str) -> None:
    found = pd.read_csv(MEASURED / place / "summary.csv", keep_default_na=False)
    run = found[~found["verdict"].isin(["not run", "range"])]
    assert set(run["n"]) == {SEEDS}
    assert set(found["conditions"]) == {""}
