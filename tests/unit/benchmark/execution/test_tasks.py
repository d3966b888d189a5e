"""Which task is next, which runs are through, and what a failure takes along."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.execution.tasks import Agenda, Outcome, Task

DONE = Outcome()
FAILED = Outcome(failure="no")


def chain(run: int, *names: str) -> list[Task]:
    """Tasks that each need the one before."""
    return [Task(n, run, i, needs=names[:i][-1:]) for i, n in enumerate(names)]


def names(agenda: Agenda) -> list[str]:
    """What can begin now."""
    found = []
    while (task := agenda.next()) is not None:
        found.append(task.name)
    return found


def test_what_two_runs_share_is_done_once_and_both_go_on():
    agenda = Agenda([chain(0, "classify", "cam"), chain(1, "classify", "other")])
    assert names(agenda) == ["classify"]
    assert agenda.end(agenda.tasks["classify"], DONE) == []
    assert names(agenda) == ["cam", "other"]
    assert agenda.end(agenda.tasks["other"], DONE) == [1]
    assert agenda.running
    assert agenda.end(agenda.tasks["cam"], DONE) == [0]
    assert not agenda.running


def test_a_failure_fails_every_run_that_wants_it_and_no_other():
    agenda = Agenda([chain(0, "classify", "cam"), chain(1, "classify", "other"), chain(2, "own")])
    classify = agenda.next()
    assert classify is not None
    assert agenda.end(classify, FAILED) == [0, 1]
    assert agenda.failures == dict.fromkeys((0, 1), ("stage classify: no", ""))
    assert names(agenda) == ["own"]


def test_what_only_a_failed_run_wants_is_not_begun():
    agenda = Agenda([[Task("a", 0, 0), Task("b", 0, 1)], [Task("b", 1, 0), Task("c", 1, 1)]])
    first = agenda.next()
    assert first is not None
    agenda.end(first, FAILED)
    assert names(agenda) == ["b", "c"]
    agenda = Agenda([[Task("a", 0, 0), Task("b", 0, 1)], [Task("c", 1, 0)]])
    first = agenda.next()
    assert first is not None
    agenda.end(first, FAILED)
    assert names(agenda) == ["c"]


def test_what_can_never_begin_is_no_end():
    agenda = Agenda([[Task("cam", 0, 0, needs=("classify",))]])
    assert agenda.next() is None
    with pytest.raises(RuntimeError, match="nothing will make"):
        _ = agenda.running


def test_a_run_without_tasks_is_through_at_once():
    assert Agenda([[], chain(1, "cam")]).through == [0]


def test_the_most_urgent_comes_first():
    agenda = Agenda([chain(0, "short"), chain(1, "long")], urgency=lambda task: len(task.name))
    assert names(agenda) == ["short", "long"]
    agenda = Agenda([chain(0, "short"), chain(1, "long")], urgency=lambda task: task.run)
    assert names(agenda) == ["long", "short"]


@given(st.data())
def test_every_task_is_done_once_after_what_it_needs(data):
    runs = data.draw(st.integers(1, 4))
    shared = data.draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4))
    graphs = []
    for run in range(runs):
        own = [f"{run}{n}" for n in range(data.draw(st.integers(0, 4)))]
        graphs.append(chain(run, *shared, *own))
    slots = data.draw(st.integers(1, 3))
    order = random.Random(data.draw(st.integers(0, 99)))
    agenda = Agenda(graphs)
    running: list[Task] = []
    begun: list[str] = []
    through = list(agenda.through)
    while True:
        while len(running) < slots and (task := agenda.next()) is not None:
            assert all(need in agenda.outcomes for need in task.needs)
            running.append(task)
            begun.append(task.name)
        if not running:
            break
        through += agenda.end(running.pop(order.randrange(len(running))), DONE)
    assert sorted(begun) == sorted({task.name for graph in graphs for task in graph})
    assert sorted(through) == list(range(runs))
