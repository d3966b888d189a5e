"""Shares of a difference: Shapley's axioms, and what is planted is found."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from benchmark.explanation.ledger import Changed, Share, shares, subsets, weights

THINGS = ("method", "refiner", "test")


def every(changed: Changed) -> bool:
    return True


def planted(
    gains: dict[str, float], together: float = 0.0, seeds: int = 3, noise: float = 0.0
) -> tuple[dict[Changed, dict[int, float]], dict[Changed, dict[int, np.ndarray]]]:
    """Scores that add up from gains, with one more for method and refiner together; noise of seeds is each set's own,
    that of images is shared."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.01, 1000)
    values: dict[Changed, dict[int, float]] = {}
    resamples: dict[Changed, dict[int, np.ndarray]] = {}
    for changed in subsets(THINGS, every):
        true = (
            0.5
            + sum(gains.get(name, 0.0) for name in changed)
            + together * ({"method", "refiner"} <= changed)
        )
        values[changed] = {seed: true + rng.normal(0, noise) for seed in range(seeds)}
        resamples[changed] = {seed: value + images for seed, value in values[changed].items()}
    return values, resamples


def by_name(found: list[Share]) -> dict[str, Share]:
    return {each.name: each for each in found}


def test_only_what_differs_gains() -> None:
    found = by_name(shares(THINGS, *planted({"refiner": 0.04})))
    assert found["refiner"].gain == pytest.approx(0.04)
    assert found["method"].gain == pytest.approx(0)
    assert found["test"].gain == pytest.approx(0)
    assert found[""].gain == pytest.approx(0.04)


def test_an_interaction_is_divided_and_its_range_is_said() -> None:
    found = by_name(shares(THINGS, *planted({"refiner": 0.04, "method": 0.02}, together=0.01)))
    assert found["refiner"].gain == pytest.approx(0.045)
    assert found["method"].gain == pytest.approx(0.025)
    assert (found["refiner"].least, found["refiner"].most) == (pytest.approx(0.04), pytest.approx(0.05))
    assert (found["test"].least, found["test"].most) == (pytest.approx(0), pytest.approx(0))


def test_shares_add_up_with_noise_and_a_planted_change_is_in_its_interval() -> None:
    found = shares(THINGS, *planted({"refiner": 0.04}, noise=0.005, seeds=5))
    *parts, whole = found
    assert sum(each.gain for each in parts) == pytest.approx(whole.gain)
    refiner = by_name(found)["refiner"]
    assert refiner.low < 0.04 < refiner.high
    assert refiner.high - refiner.low > 0.001


def test_noise_of_images_that_is_shared_cancels() -> None:
    values, resamples = planted({"refiner": 0.04}, seeds=1)
    for each in shares(THINGS, values, resamples):
        assert each.high - each.low == pytest.approx(0, abs=1e-12)


def test_a_brute_mean_over_orders_agrees() -> None:
    rng = np.random.default_rng(1)
    values = {changed: {0: rng.random()} for changed in subsets(THINGS, every)}
    resamples = {changed: {0: np.full(10, each[0])} for changed, each in values.items()}
    found = by_name(shares(THINGS, values, resamples))
    for name in THINGS:
        others = [each for each in THINGS if each != name]
        total = 0.0
        for size, share in ((0, 1 / 3), (1, 1 / 6), (2, 1 / 3)):  # |S|! (n - |S| - 1)! / n!
            for chosen in combinations(others, size):
                before = frozenset(chosen)
                total += share * (values[before | {name}][0] - values[before][0])
        assert found[name].gain == pytest.approx(total)


def test_only_orders_that_there_are_count() -> None:
    """A refiner that only the second method has can be changed after the method alone."""
    known = subsets(("method", "refiner"), lambda changed: "refiner" not in changed or "method" in changed)
    found = weights(("method", "refiner"), known)
    nothing, method, both = frozenset[str](), frozenset({"method"}), frozenset({"method", "refiner"})
    assert found["method"] == {method: 1, nothing: -1}
    assert found["refiner"] == {both: 1, method: -1}


def test_no_way_between_two_sides_is_an_error() -> None:
    with pytest.raises(ValueError, match="no way"):
        weights(THINGS, [frozenset(), frozenset(THINGS)])
