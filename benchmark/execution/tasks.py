"""What a plan comes to: the artifacts and scores to be made, each once, and which of them can be made now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.planning.plan import Plan, PlannedStage


@dataclass(frozen=True)
class Task:
    """An artifact to be made, or its scores.

    name: stage (or scoring) and key. Runs that share an artifact share the task. The key alone is not enough: two
          stages that do the same have equal keys, and the store keeps an artifact for each name
    run, stage: indices into the plan, of the first run that wants it
    scoring: whether the scores are meant
    needs: names of the tasks that have to be done before
    """

    name: str
    run: int
    stage: int
    scoring: bool = False
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Of the artifact or the scores."""
        return self.name.rpartition("/")[2]

    @property
    def title(self) -> str:
        """ "stage cam" or "stage score-cam"."""
        return f"stage {self.name.split('/')[0]}"


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    cached: it was stored before; resumed: a part of it was
    failure: one line that says why there is no result; "" where there is one
    traceback: the whole of it, where an exception was the reason
    """

    cached: bool = False
    failure: str = ""
    resumed: bool = False
    traceback: str = ""


def artifact_name(planned: PlannedStage) -> str:
    return f"{planned.stage.name}/{planned.key}"


def scores_name(planned: PlannedStage) -> str:
    return f"{planned.score_name}/{planned.score_key}"


def run_tasks(plan: Plan, run: int) -> list[Task]:
    """The tasks of a run in order: each artifact, then its scores.

    An input that is not among the run's stages is stored already: `check` starts from recorded weights and leaves
    out the stages before them.
    """
    found = []
    own = {artifact_name(planned) for planned in plan.runs[run].stages}
    for number, planned in enumerate(plan.runs[run].stages):
        made = artifact_name(planned)
        needs = tuple(name for name in map(artifact_name, planned.inputs.values()) if name in own)
        found.append(Task(made, run, number, needs=needs))
        if planned.is_scored(plan.dataset.masked):
            found.append(Task(scores_name(planned), run, number, scoring=True, needs=(made,)))
    return found


class Agenda:
    """The tasks of all runs: which is next, and which runs are through.

    Of those that can begin, the one of the largest `urgency` comes first, and among equals the first in the plan.
    A failed task fails the runs that want it; tasks that only these runs want are not begun any more.
    """

    def __init__(self, runs: Sequence[list[Task]], urgency: Callable[[Task], float] | None = None) -> None:
        """runs: the tasks of each, in the order of the plan"""
        self.tasks: dict[str, Task] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.failures: dict[int, tuple[str, str]] = {}
        """Why a run failed, by its index: the stage and its failure in one line; the traceback."""
        self.through = [number for number, own in enumerate(runs) if not own]
        """Runs that have nothing to do."""
        for own in runs:
            for task in own:
                self.tasks.setdefault(task.name, task)
        self._wanted = {number: [task.name for task in own] for number, own in enumerate(runs) if own}
        self._waiting = list(self.tasks.values())
        if urgency is not None:
            self._waiting.sort(key=urgency, reverse=True)  # a stable sort
        self._running: set[str] = set()

    def next(self, takes: Callable[[Task], bool] = lambda task: True) -> Task | None:
        """A task that can begin now, which counts as begun; None if there is none at present.

        takes: whether whoever does it has room for it
        """
        alive = self._alive()
        for task in self._waiting:
            if task.name in alive and takes(task) and all(self._succeeded(name) for name in task.needs):
                self._waiting.remove(task)
                self._running.add(task.name)
                return task
        return None

    def end(self, task: Task, outcome: Outcome) -> list[int]:
        """Note what became of a task; returns the runs that are through with it, failed ones at once."""
        self._running.remove(task.name)
        self.outcomes[task.name] = outcome
        through = []
        for run in self.wanting(task):
            if outcome.failure:
                self.failures[run] = f"{task.title}: {outcome.failure}", outcome.traceback
                through.append(run)
            elif all(self._succeeded(name) for name in self._wanted[run]):
                through.append(run)
        return through

    def wanting(self, task: Task) -> list[int]:
        """Runs that want a task and have not failed."""
        return [c for c, names in self._wanted.items() if task.name in names and c not in self.failures]

    def unwanted(self) -> list[Task]:
        """Tasks that have not begun and that only failed runs want, each once."""
        alive = self._alive()
        found = [task for task in self._waiting if task.name not in alive]
        self._waiting = [task for task in self._waiting if task.name in alive]
        return found

    def _alive(self) -> set[str]:
        return {name for run, names in self._wanted.items() if run not in self.failures for name in names}

    @property
    def running(self) -> bool:
        """Whether any task is under way. Raises RuntimeError where none is, and one that is left can never begin."""
        if not self._running and any(
            name not in self.outcomes
            for run, names in self._wanted.items()
            for name in names
            if run not in self.failures
        ):
            raise RuntimeError("tasks wait for what nothing will make")
        return bool(self._running)

    def _succeeded(self, name: str) -> bool:
        return name in self.outcomes and not self.outcomes[name].failure
