"""Estimates from a few masks: what they mean, on populations of which all is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.evaluation.scores import mean_iou
from benchmark.selection.estimates import (
    Areas,
    critical,
    estimate,
    half_width,
    linearised,
    masks_needed,
)
from benchmark.selection.sampling import fixed_numbers, inclusion, joined, order, sizes
from tests.helpers.populations import population

ALL = np.ones(3, bool)


def draws(seed: int, count: int, images: int, n: int) -> np.ndarray:
    """(count, images) bool, n random ones each."""
    ranks = np.random.default_rng(seed).random((count, images)).argsort(1)
    return ranks < n


def test_all_images_give_the_score_itself_without_error() -> None:
    matrices = np.random.default_rng(0).integers(0, 50, (2, 8, 4, 4)).astype(float)
    matrices[:, :, 3] = 0  # a class that the truth lacks
    both = np.diagonal(matrices, axis1=-2, axis2=-1)
    truth = matrices.sum(-1)
    areas = Areas(both, truth + matrices.sum(-2) - both, truth)
    found = estimate(areas, np.ones((1, 8), bool), np.ones(8), np.eye(2), np.ones(4, bool))
    assert found.value[0] == pytest.approx(mean_iou(matrices.sum(1)))
    assert (found.error == 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(4, 40))
def test_influences_sum_to_nothing_and_are_the_derivative(seed: int, n: int) -> None:
    areas, _ = population(seed, 40)
    drawn = draws(seed, 1, 40, n)
    weights = drawn * 40 / n
    value, influence, *_ = linearised(areas, weights, np.eye(2))
    assert np.abs((weights[:, None] * influence).sum(-1)).max() < 1e-12
    more = weights + 1e-6 * np.eye(40)[int(np.flatnonzero(drawn[0])[0])]
    change = (linearised(areas, more, np.eye(2)).value - value)[0] / 1e-6
    # but for the widening, which is at most √2
    ratio = change / influence[0, :, int(np.flatnonzero(drawn[0])[0])]
    assert ((ratio > 0.5) & (ratio < 1.01)).all()


def test_a_random_sample_s_error_is_the_textbook_s() -> None:
    """With one class and unions of one size the mIoU is a mean."""
    rng = np.random.default_rng(1)
    both = rng.random((1, 50, 1))
    areas = Areas(both, np.ones_like(both), np.ones_like(both))
    drawn = draws(1, 3, 50, 20)
    found = estimate(areas, drawn, np.full(50, 0.4), np.eye(1), np.ones(1, bool))
    for row, value, error, spread in zip(drawn, found.value[:, 0], found.error[:, 0], found.spread[:, 0]):
        own = both[0, row, 0]
        widened = np.sqrt(20 / 19)
        assert value == pytest.approx(own.mean())
        assert error == pytest.approx(widened * own.std(ddof=1) * np.sqrt(1 / 20 - 1 / 50))
        assert spread == pytest.approx(widened * own.std(ddof=1))


@pytest.mark.parametrize("chosen", [False, True])
def test_estimates_are_unbiased_and_their_intervals_cover(chosen: bool) -> None:
    """At random, and in the order of sizes; the stand-in narrows the interval and is no worse a promise."""
    areas, stand_in = population(3)
    combine = np.array([[1.0, 0.0], [1.0, -1.0]])
    whole = linearised(areas, np.ones((1, 300)), combine).value[0]
    if chosen:
        size = sizes(stand_in, np.eye(2))
        probability = inclusion(size, 40)
        first = order(size, np.random.default_rng(5).random((800, 300)))[:, :40]
        drawn = np.zeros((800, 300), bool)
        np.put_along_axis(drawn, first, True, 1)
    else:
        probability = np.full(300, 40 / 300)
        drawn = draws(5, 800, 300, 40)
    plain = estimate(areas, drawn, probability, combine, ALL)
    helped = estimate(areas, drawn, probability, combine, ALL, stand_in)
    for found in (plain, helped):
        bias = np.abs(found.value.mean(0) - whole) / found.value.std(0)
        assert (bias < 0.2).all()
        covered = (np.abs(found.value - whole) <= found.half_width()).mean(0)
        assert ((covered > 0.91) & (covered < 0.99)).all()
    assert (helped.value.std(0) < 0.9 * plain.value.std(0)).all()
    assert (helped.error.mean(0) < 0.9 * plain.error.mean(0)).all()


def test_a_stand_in_that_knows_nothing_does_no_harm() -> None:
    areas, stand_in = population(4, told=0.0)
    whole = linearised(areas, np.ones((1, 300)), np.eye(2)).value[0]
    drawn = draws(6, 800, 300, 30)
    plain, helped = (
        estimate(areas, drawn, np.full(300, 0.1), np.eye(2), ALL, each) for each in (None, stand_in)
    )
    assert (helped.value.std(0) < 1.1 * plain.value.std(0)).all()
    assert ((np.abs(helped.value - whole) <= helped.half_width()).mean(0) > 0.91).all()


def test_a_constant_stand_in_is_the_plain_estimate() -> None:
    areas, _ = population(5)
    ones = np.ones_like(areas.both)
    drawn = draws(7, 5, 300, 30)
    plain = estimate(areas, drawn, np.full(300, 0.1), np.eye(2), ALL)
    helped = estimate(areas, drawn, np.full(300, 0.1), np.eye(2), ALL, Areas(ones, 2 * ones, ones))
    assert helped.value == pytest.approx(plain.value)


@settings(max_examples=40, deadline=None)
@given(spread=st.floats(0.01, 1), difference=st.floats(0.001, 0.5), images=st.integers(20, 5000))
def test_masks_needed_fall_with_the_difference_and_with_the_spread(
    spread: float, difference: float, images: int
) -> None:
    needed = masks_needed(spread, difference, images)
    assert 4 <= needed <= images
    assert masks_needed(spread, 2 * difference, images) <= needed
    assert masks_needed(2 * spread, difference, images) >= needed
    if 50 < needed < images - 50:
        quantiles = 1.959964 + 0.841621
        assert quantiles * spread * np.sqrt(1 / needed - 1 / images) == pytest.approx(difference, rel=0.1)


def test_no_difference_needs_all_masks() -> None:
    assert masks_needed(0.1, 0.0, 77) == 77


def test_widths_fall_to_nothing_at_all_images() -> None:
    found = half_width(0.1, np.array([10, 20, 100]), 100)
    assert found[0] > found[1] > found[2] == 0
    assert half_width(0.1, 10, 100, 1) > found[0]
    assert critical(1e9) == pytest.approx(1.959964)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(0, 30))
def test_inclusion_probabilities_sum_to_the_sample_s_size(seed: int, n: int) -> None:
    size = np.random.default_rng(seed).pareto(1.0, 30) + 0.01
    found = inclusion(size, n)
    assert found.sum() == pytest.approx(n)
    assert ((found >= 0) & (found <= 1)).all()
    free = (found > 0) & (found < 1)
    assert np.ptp(found[free] / size[free]) < 1e-9 if free.any() else True


def test_the_first_of_the_order_are_as_frequent_as_promised() -> None:
    size = np.linspace(0.5, 2.5, 60)
    first = order(size, np.random.default_rng(8).random((4000, 60)))[:, :15]
    often = np.bincount(first.reshape(-1), minlength=60) / 4000
    assert np.abs(often - inclusion(size, 15)).max() < 0.04


def test_masks_at_random_and_then_in_order_are_as_frequent_as_promised() -> None:
    size, rng = np.linspace(0.5, 2.5, 60), np.random.default_rng(9)
    before = draws(9, 4000, 60, 12)
    numbers = np.where(before, np.inf, rng.random((4000, 60)) / size)
    drawn = before.copy()
    np.put_along_axis(drawn, numbers.argsort(1)[:, :10], True, 1)
    assert np.abs(drawn.mean(0) - joined(size, 12, 10)).max() < 0.04
    assert (joined(size, 12, 0) == 12 / 60).all()


def test_numbers_of_names_are_fixed_and_spread() -> None:
    names = [f"image-{n}" for n in range(500)]
    found = fixed_numbers(names)
    assert (found == fixed_numbers(names)).all()
    assert 0 < found.min() < found.max() < 1
    assert 0.45 < found.mean() < 0.55
