"""How long a run will take, said when it begins, and what is left of it, said while it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmark.console import console, duration
from benchmark.execution.processes import threads_each
from benchmark.execution.tasks import Outcome, Task
from benchmark.planning.plan import Plan
from benchmark.timing.estimate import Estimates, time_estimate
from benchmark.timing.machine_speed import measured_speed
from benchmark.timing.remaining import Remaining

INTERVAL = 60.0
"""Seconds between two lines that say what is left."""


class Pace:
    """Follows a run's tasks."""

    def __init__(self, plan: Plan, processes: int, scheduler: str | None = None) -> None:
        """Measures this machine's speed, which takes a second.

        processes: that do the tasks side by side
        scheduler: where other machines do them; then nothing is measured, and nothing said of how long it will take
        """
        self._plan, self._processes, self._scheduler = plan, processes, scheduler
        self._speed = None if scheduler else measured_speed(plan.config.runtime, threads_each(processes))
        self._estimates = Estimates(plan, self._speed)
        seconds, needs = self._estimates.graph()
        self._remaining = Remaining(seconds, needs, processes)
        self._begun: dict[str, float] = {}
        self._said = time.perf_counter()
        self._by_run = [
            sum(seconds.get(key) or 0.0 for p in run.stages for key in (p.key, p.score_key) if key)
            for run in plan.runs
        ]

    def announce(self) -> None:
        """Say what there is to do, where, and how long it will take."""
        expected = time_estimate(self._plan, self._speed, self._processes)
        if expected.todo and self._scheduler is not None:
            console.print(f"{expected.todo} stages to do by the workers of {self._scheduler}", markup=False)
        elif expected.todo:
            where = f" in {self._processes} processes side by side" if self._processes > 1 else ""
            console.print(f"{expected.todo} stages to do{where}: {expected}", markup=False)

    def urgency(self, task: Task) -> float:
        """What the task's run is expected to take: the longest are begun first, so that none is left at the end."""
        return self._by_run[task.run]

    def began(self, task: Task) -> None:
        self._begun[task.name] = time.perf_counter()
        self._remaining.started(task.key, self._begun[task.name])

    def ended(self, task: Task, outcome: Outcome) -> None:
        now = time.perf_counter()
        if outcome.failure:
            self._remaining.dropped(task.key)
        else:
            known = outcome.cached or outcome.resumed  # its time does not show how long others take
            self._remaining.finished(task.key, now - self._begun[task.name], known)

    def drop(self, tasks: Iterable[Task]) -> None:
        """These will not be done."""
        for task in tasks:
            self._remaining.dropped(task.key)

    def left(self) -> str:
        """Of the whole run, "" where too little is known."""
        if self._scheduler is not None:
            return ""
        seconds = self._remaining.left(time.perf_counter())
        return f"about {duration(seconds)} left" if seconds >= 1 else ""

    def say(self) -> None:
        """Say what is left, once in a while."""
        if time.perf_counter() - self._said >= INTERVAL:
            self._said = time.perf_counter()
            if left := self.left():
                console.print(f"  {left}", style="dim", markup=False)
