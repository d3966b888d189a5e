"""The figures of `budget` on made-up images: simulated, estimated and planned ones agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.selection.budget import LEAST, estimated, planned, simulated
from benchmark.selection.budget_inputs import Inputs
from benchmark.selection.labelling import read_or_plan
from benchmark.selection.sampling import sizes
from benchmark.selection.simulation import EVIDENCE, ORDERED, PLAIN, ladder, needed_masks, simulate
from benchmark.selection.spread import RATIOS, largest
from methods.base import Kind
from tests.helpers.populations import population

IMAGES = 120


def inputs(masked: int = IMAGES, told: float = 0.8, seed: int = 1) -> Inputs:
    truth, stand_in = population(seed, IMAGES, told=told)
    has = np.arange(IMAGES) < masked
    return Inputs(
        kind=Kind.PREDICTION,
        split="val",
        images=tuple(f"i{n}" for n in range(IMAGES)),
        entries=("a", "b"),
        combine=np.eye(2),
        stand_in=stand_in,
        truth=truth if masked else None,
        masked=has,
        certain=np.zeros(IMAGES, bool),
        predicted=np.array([0.5, 0.45]),
        notes=(),
    )


def test_simulated_intervals_hold_and_evidence_narrows_them() -> None:
    given = inputs()
    assert given.truth is not None
    size = sizes(given.stand_in, given.combine)
    plain, evidence, ordered = (
        simulate(given.truth, given.stand_in, size, given.combine, 30, way, draws=400)
        for way in (PLAIN, EVIDENCE, ORDERED)
    )
    for way in (plain, evidence, ordered):
        assert ((way.coverage > 0.9) & (way.coverage < 0.995)).all()
    for way in (evidence, ordered):
        assert (way.width < 0.9 * plain.width).all()
        assert (way.error < 0.9 * plain.error).all()


def test_the_masks_needed_are_those_from_which_on_most_draws_tell() -> None:
    given = inputs()
    assert given.truth is not None
    size, difference = np.ones(IMAGES), np.array([[1.0, -1.0]])
    found = needed_masks(given.truth, given.stand_in, size, difference, EVIDENCE, LEAST)
    told = [
        float(simulate(given.truth, given.stand_in, size, difference, n, EVIDENCE).told[0])
        for n in (found, max(found // 2, LEAST))
    ]
    assert LEAST < found < IMAGES
    assert told[0] >= 0.8 > told[1]


def test_a_simulation_says_what_evidence_is_worth() -> None:
    document, widths = simulated(inputs())
    assert all(row["factor"] > 1.2 for row in document["entries"])
    assert document["pair"]["needed_evidence"] <= document["pair"]["needed_plain"]
    assert "is worth" in document["advice"]
    assert len(widths) == 2 * len(ladder(IMAGES, LEAST))
    useless, _ = simulated(inputs(told=0.0))
    assert all(0.8 < row["factor"] < 1.2 for row in useless["entries"])
    assert "worth little here" in useless["advice"]


def test_estimates_of_a_few_masks_say_how_many_more(tmp_path: Path) -> None:
    given = inputs(masked=20)
    order = read_or_plan(tmp_path / "plan.csv", given.images, np.ones(IMAGES), given.masked, given.certain)
    document, _ = estimated(given, order)
    pair = document["pair"]
    assert document["masks"] == 20
    assert pair["low"] < pair["difference"] < pair["high"]
    if pair["low"] > 0:
        assert "masks are enough" in document["advice"]
    else:
        assert "do not tell" in document["advice"]
    few = inputs(masked=LEAST - 1)
    order = read_or_plan(tmp_path / "few.csv", few.images, np.ones(IMAGES), few.masked, few.certain)
    with pytest.raises(ValueError, match="too few masks"):
        estimated(few, order)


def test_images_that_need_no_mask_are_in_no_number(tmp_path: Path) -> None:
    """80 of 120 are known: widths of 20 masks are those of the intervals, and no more than 40 can be labelled."""
    known = np.arange(IMAGES) >= 40
    given = replace(inputs(masked=20), certain=known, masked=known | (np.arange(IMAGES) < 20))
    order = read_or_plan(tmp_path / "plan.csv", given.images, np.ones(IMAGES), given.masked, given.certain)
    document, widths = estimated(given, order)
    assert (document["masks"], document["images"]) == (20, 40)
    assert document["label"] <= 20
    assert document["pair"]["needed_plain"] <= 40
    row = next(each for each in document["entries"] if each["entry"] == "a")
    width = next(each for each in widths if each["entry"] == "a" and each["masks"] == 20)
    assert width[PLAIN] == pytest.approx(row["plain_high"] - row["plain_low"], rel=0.05)
    assert "80 images without labels need no mask" in document["warnings"][0]
    assert max(each["masks"] for each in widths) <= 40

    ratios = dict(zip(RATIOS, (1.0, 1.0, 1.0, 1.0)))
    planned_for, _ = planned(replace(inputs(masked=0), certain=known), ratios)
    assert planned_for["pair"]["needed_plain"] <= planned_for["images"] == 40

    whole, steps = simulated(replace(inputs(), certain=known))
    assert whole["pair"]["needed_plain"] <= 40
    assert all(each[f"coverage_{way}"] > 0.85 for each in steps for way in (PLAIN, EVIDENCE, ORDERED))


@pytest.mark.parametrize("seed", range(12))
def test_the_best_two_are_in_the_order_of_their_difference(tmp_path: Path, seed: int) -> None:
    given = inputs(masked=14, seed=seed)
    order = read_or_plan(tmp_path / "plan.csv", given.images, np.ones(IMAGES), given.masked, given.certain)
    pair = estimated(given, order)[0]["pair"]
    assert pair["difference"] >= 0
    assert {pair["first"], pair["second"]} == {"a", "b"}


def test_a_plan_without_masks_goes_by_what_is_predicted() -> None:
    ratios = dict(zip(RATIOS, (1.2, 0.8, 1.1, 0.9)))
    document, _ = planned(inputs(masked=0), ratios)
    assert document["masks"] == 0
    assert document["pair"]["first"] == "a"
    assert document["pair"]["difference"] == pytest.approx(0.05)
    assert LEAST <= document["pair"]["needed_evidence"] <= document["pair"]["needed_plain"] <= IMAGES
    assert document["entries"][0]["factor"] == pytest.approx(2.25)
    assert "No masks yet" in document["advice"]


def test_a_calibration_keeps_the_largest_spread() -> None:
    one, other = dict(zip(RATIOS, (1, 2, 3, 4))), dict(zip(RATIOS, (4, 3, 2, 1)))
    assert largest([one, None, other]) == dict(zip(RATIOS, (4, 3, 3, 4)))
    assert largest([None]) is None


def test_steps_are_within_the_images() -> None:
    assert ladder(256, 10) == [10, 20, 50, 100, 200]
    assert ladder(20, 10) == [10]
