"""What the repository keeps of the project's own runs is whole, and its diagnoses are those of the methods."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import results
from benchmark.diagnoses import diagnoses_of, diagnosis_of
from methods.registry import find_method

KEPT = Path(results.__file__).parent / "measured" / "shapes-nano"
SEEDS = 3


def test_what_does_not_reproduce_is_diagnosed_as_the_methods_say() -> None:
    found = pd.read_csv(KEPT / "summary.csv", keep_default_na=False)
    assert len(found)
    refuted = found[found["verdict"] == "not reproduced"]
    for row in refuted.to_dict("records"):
        method, _, experiment = row["experiment"].partition("/")
        known = diagnoses_of(find_method(method))
        text = diagnosis_of(known, "shapes-nano", experiment, row["row"], row["column"])
        assert row["diagnosis"] == text != "", (row["experiment"], row["row"], row["column"])


def test_every_comparison_that_could_be_run_has_all_seeds() -> None:
    found = pd.read_csv(KEPT / "summary.csv", keep_default_na=False)
    run = found[~found["verdict"].isin(["not run", "range"])]
    assert set(run["n"]) == {SEEDS}
    assert set(found["conditions"]) == {""}
