"""What is left of a run, while it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.timing.remaining import PRIOR, Remaining

checked = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SECONDS = st.integers(1, 1000).map(float)
"""Whole numbers: sums of them are exact."""


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Seconds and needs of stages that only need earlier ones."""
    count = draw(st.integers(1, 8))
    seconds = {f"s{i}": draw(SECONDS) for i in range(count)}
    bits = draw(st.lists(st.integers(0, 2**count - 1), min_size=count, max_size=count))
    needs = {f"s{i}": [f"s{j}" for j in range(i) if bits[i] >> j & 1] for i in range(count)}
    return seconds, needs


def longest_path(seconds: dict[str, float], needs: dict[str, list[str]]) -> float:
    ends: dict[str, float] = {}
    for key in seconds:
        ends[key] = seconds[key] + max((ends[up] for up in needs[key]), default=0.0)
    return max(ends.values())


@checked
@given(graphs())
def test_one_worker_takes_the_sum(graph) -> None:
    assert Remaining(*graph).left(0.0) == sum(graph[0].values())


@checked
@given(graphs())
def test_workers_without_end_take_the_longest_path(graph) -> None:
    assert Remaining(*graph, workers=len(graph[0])).left(0.0) == longest_path(*graph)


@checked
@given(graphs(), st.integers(1, 4))
def test_some_workers_take_no_less_than_the_bounds_and_no_more_than_one(graph, workers: int) -> None:
    seconds, needs = graph
    left = Remaining(seconds, needs, workers).left(0.0)
    assert max(longest_path(seconds, needs), sum(seconds.values()) / workers) <= left * (1 + 1e-9)
    assert left <= sum(seconds.values())


def carried_out(
    seconds: dict[str, float],
    needs: dict[str, list[str]],
    workers: int,
    slowness: float,
    remaining: Remaining,
) -> Iterator[float]:
    """Tells a `Remaining` of a run in which stages start in order and take `slowness` times as long as expected;
    yields the clock at each end, before the next ones start and after."""
    clock, waiting, ends, done = 0.0, list(seconds), {}, set()
    while waiting or ends:
        for key in list(waiting):
            if len(ends) < workers and done >= set(needs[key]):
                waiting.remove(key)
                remaining.started(key, clock)
                ends[key] = clock + seconds[key] * slowness
        yield clock
        key = min(ends, key=lambda k: (ends[k], k))
        clock = ends.pop(key)
        yield clock
        remaining.finished(key, seconds[key] * slowness)
        done.add(key)
        yield clock


@checked
@given(graphs(), st.integers(1, 3))
def test_it_falls_as_time_passes_where_all_goes_as_expected(graph, workers: int) -> None:
    remaining = Remaining(*graph, workers=workers)
    whole = remaining.left(0.0)
    for clock in carried_out(*graph, workers, 1.0, remaining):
        assert remaining.left(clock) == pytest.approx(whole - clock, abs=1e-6)
    assert remaining.left(whole) == 0


@checked
@given(graphs(), st.integers(1, 3), st.floats(0.05, 20))
def test_it_is_never_negative_and_ends_at_nothing(graph, workers: int, slowness: float) -> None:
    remaining = Remaining(*graph, workers=workers)
    clock = 0.0
    for clock in carried_out(*graph, workers, slowness, remaining):
        assert remaining.left(clock) >= 0
        assert min(1.0, slowness) - 1e-9 <= remaining.factor(clock) <= max(1.0, slowness) + 1e-9
    assert remaining.left(clock) == 0


def test_a_machine_that_is_slower_than_expected_is_noticed() -> None:
    remaining = Remaining({f"s{i}": 10.0 for i in range(100)}, {})
    for i in range(5):
        remaining.started(f"s{i}", i * 30.0)
        remaining.finished(f"s{i}", 30.0)
    prior = PRIOR * 1000
    assert remaining.factor(150.0) == pytest.approx((prior + 150) / (prior + 50))
    assert remaining.left(150.0) == pytest.approx(950 * (prior + 150) / (prior + 50))


def test_one_quick_stage_moves_the_estimate_little() -> None:
    remaining = Remaining({"label": 0.1, "train": 1000.0}, {})
    remaining.finished("label", 3.0)
    assert 1000 < remaining.left(3.0) < 1200


def test_a_stage_that_is_late_is_noticed_before_it_ends() -> None:
    remaining = Remaining({"a": 100.0, "b": 100.0}, {"b": ["a"]})
    remaining.started("a", 0.0)
    assert remaining.left(100.0) == pytest.approx(100)
    assert remaining.left(200.0) > 180  # late by nearly 100, so that again; and b takes longer too
    assert remaining.factor(200.0) > 1.8


def test_what_was_stored_or_resumed_tells_nothing_of_the_rest() -> None:
    remaining = Remaining({"a": 100.0, "b": 100.0}, {})
    remaining.finished("a", 0.01, cached=True)
    assert remaining.factor(0.0) == 1
    assert remaining.left(0.0) == 100


def test_unknown_stages_take_no_time_and_are_counted() -> None:
    remaining = Remaining({"a": None, "b": 5.0}, {"b": ["a"]})
    assert (remaining.left(0.0), remaining.unknown) == (5.0, 1)
    remaining.finished("a", 400.0)
    assert (remaining.left(400.0), remaining.unknown) == (5.0, 0)


def test_what_needs_a_failed_stage_is_not_waited_for() -> None:
    remaining = Remaining({"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0}, {"b": ["a"], "c": ["b"]})
    remaining.started("a", 0.0)
    remaining.dropped("a")
    assert remaining.left(1.0) == 8


def test_what_is_needed_and_not_to_be_done_is_there() -> None:
    assert Remaining({"b": 2.0}, {"b": ["stored"], "elsewhere": ["b"]}).left(0.0) == 2


def test_the_order_is_that_of_the_stages() -> None:
    """Two workers: the long one last keeps one of them idle."""
    assert Remaining({"short": 2.0, "also": 2.0, "long": 4.0}, {}, 2).left(0.0) == 6
    assert Remaining({"long": 4.0, "short": 2.0, "also": 2.0}, {}, 2).left(0.0) == 4


def test_a_circle_is_an_error() -> None:
    with pytest.raises(ValueError, match="wait for each other: a, b"):
        Remaining({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": ["b"], "b": ["a"]})


def test_nobody_at_work_is_an_error() -> None:
    with pytest.raises(ValueError, match="workers=0"):
        Remaining({"a": 1.0}, {}, 0)
