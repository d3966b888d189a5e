"""What the repository keeps of the project's own runs is whole, and its diagnoses are those of the methods."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

import results
from benchmark.experiments.diagnoses import diagnoses_of, diagnosis_of
from methods.registry import all_methods, find_method
from results.directions import MISSED, NOT_RUN, RANGE, verdict

MEASURED = Path(results.__file__).parent / "measured"
PLACES = ("shapes-nano", "bluefilm-nano")
SEEDS = 3
UNDIAGNOSED = {
    "shapes-nano": set(),
    "bluefilm-nano": set(),
}
"""What falls short of half of the paper's effect and has no diagnosis yet; nothing may join it."""


def test_every_kept_folder_is_looked_at() -> None:
    assert {folder.name for folder in MEASURED.iterdir() if folder.is_dir()} == set(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_what_does_not_reproduce_is_diagnosed_as_the_methods_say(place: str) -> None:
    found = pd.read_csv(MEASURED / place / "summary.csv", keep_default_na=False)
    assert len(found)
    missed = found[found["verdict"].isin(MISSED)]
    assert len(missed)
    undiagnosed = set()
    for row in missed.to_dict("records"):
        method, _, experiment = row["experiment"].partition("/")
        known = diagnoses_of(find_method(method))
        text = diagnosis_of(known, place, experiment, row["row"], row["column"])
        assert row["diagnosis"] == text, (row["experiment"], row["row"], row["column"])
        if not text:
            undiagnosed.add((row["experiment"], row["row"]))
    assert undiagnosed == UNDIAGNOSED[place]


@pytest.mark.parametrize("place", PLACES)
def test_verdicts_follow_from_the_kept_intervals(place: str) -> None:
    found = pd.read_csv(MEASURED / place / "summary.csv")
    for row in found[~found["verdict"].isin([NOT_RUN, RANGE])].to_dict("records"):
        assert row["verdict"] == verdict(row["low"], row["high"], row["paper"], row["p_holm"])
        assert row["paper"] > 0 or math.isnan(row["share"])
    same = found[found["same"].notna()].groupby("same")[["difference", "low", "high"]].nunique()
    assert (same == 1).all(axis=None)


@pytest.mark.parametrize("place", PLACES)
def test_every_comparison_that_could_be_run_has_all_seeds(place: str) -> None:
    found = pd.read_csv(MEASURED / place / "summary.csv", keep_default_na=False)
    run = found[~found["verdict"].isin(["not run", "range"])]
    assert set(run["n"]) == {SEEDS}
    assert set(found["conditions"]) == {""}


def test_diagnoses_tell_of_no_place_without_kept_results() -> None:
    """A scale or a data set that a diagnosis names has results here that bear it out."""
    kept = " ".join(PLACES)
    told = {
        (name, place): text.lower()
        for name, m in all_methods().items()
        for (place, *_), text in diagnoses_of(m).items()
    }
    assert told
    for word, place in (
        ("`small`", "-small"),
        ("`paper`", "-paper"),
        ("voc", "voc2012"),
        ("coco", "coco2014"),
    ):
        if place not in kept:
            assert not [key for key, text in told.items() if word in text], word
