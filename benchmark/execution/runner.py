"""Executes a plan: every stage that is not stored, and its scores. One run's failure never stops others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.console import console, duration
from benchmark.execution.discarding import Discards, in_use, names_of
from benchmark.execution.distributed import Team
from benchmark.execution.loggers import RunLog, overall_scores, require_logger, run_log
from benchmark.execution.making import Maker
from benchmark.execution.pace import Pace
from benchmark.execution.processes import Executor, OneByOne, SideBySide, process_count, require_dask
from benchmark.execution.tasks import Agenda, Outcome, Task, artifact_name, run_tasks, scores_name
from benchmark.planning.discarded import Unneeded
from benchmark.planning.plan import Job, Plan, PlannedRun, PlannedStage, plan_jobs
from benchmark.planning.tuning_file import threshold_notes
from benchmark.store import StoredArtifact
from datasets.base import DataError

TRACEBACKS = "tracebacks"
"""Subfolder of the run's folder, with a file for each failure."""
MEMORY = ("host_memory_mb", "device_memory_mb")
"""Keys of the peaks of memory in a stage's manifest; see `PeakMemory`."""
COSTS = (*MEMORY, "step_seconds", "wait_share")
"""Keys of all costs there besides seconds, where known; trainings alone have the last two, see `RunContext`."""


@dataclass
class RunResult:
    """What happened to a run; `scores` holds the metric rows of each scored stage."""

    run: PlannedRun
    status: str = "done"
    reason: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, StoredArtifact] = field(default_factory=dict)
    scores: list[tuple[PlannedStage, list[dict[str, Any]]]] = field(default_factory=list)

    def costs(self) -> list[dict[str, Any]]:
        """What its stages and their scoring took, a dict each: name, key (of the artifact), seconds, `COSTS`."""
        return [
            {"key": stage["key"], **part}
            for stage in self.stages
            for part in (stage, stage["scoring"])
            if part
        ]

    @property
    def seconds(self) -> float:
        """Seconds of all stages and their scoring; for stored ones, those that making them took."""
        return sum(cost["seconds"] for cost in self.costs())

    def costs_said(self) -> str:
        """What the run took, for the terminal."""
        said = duration(self.seconds)
        for name, what in zip(MEMORY, ("peak memory", "on the GPU")):
            if peaks := [cost[name] for cost in self.costs() if name in cost]:
                said += f", {what} {max(peaks):.0f} MB"
        stored = sum(stage["cached"] for stage in self.stages)
        return said + (f" ({stored} of {len(self.stages)} stages stored before)" if stored else "")


class Runner:
    """Executes the runs of one plan, in as many processes as `process_count` says, or on a cluster."""

    def __init__(
        self,
        plan: Plan,
        team: Team | None = None,
        folder: Path | None = None,
        discards: Discards | None = None,
    ) -> None:
        """team: the processes of a run under torchrun; this one is rank 0 if it calls `run`
        folder: the run's, for the tracebacks of failures; None keeps none
        discards: of intermediate artifacts; None keeps them
        """
        self.plan = plan
        self._tracebacks = folder and folder / TRACEBACKS
        self._team, self._discards = team, discards
        require_logger(plan.config.runtime)
        require_dask(plan.config.runtime)
        self._maker = Maker(plan, team, self._log_losses)
        self._scheduler = plan.config.runtime.scheduler
        self._processes = 1 if team else process_count(plan)
        self._logs: dict[int, RunLog] = {}
        self._logged: dict[int, list[int]] = {}
        """For the run that a running task names: all runs that want the result."""
        self.pace: Pace | None = None

    def follow_pace(self) -> None:
        """If anything is to be done, say how long it will take, and from time to time what is left."""
        if any(artifact is None for _, artifact in self.plan.artifacts()):
            self.pace = Pace(self.plan, self._processes, self._scheduler)
            self.pace.announce()

    def run(self, finished: Callable[[RunResult], None] = lambda result: None) -> list[RunResult]:
        """Execute every run; the results are in the order of the plan. What is finished is stored, even after Ctrl-C.

        finished: told each result as soon as it is there
        Raises DataError before anything is computed if a mask that will be opened is faulty.
        """
        try:
            self._maker.check_masks()
        except DataError:
            if self._team:
                self._team.dismiss()
            raise
        results = [RunResult(run) for run in self.plan.runs]
        try:
            with in_use(self.plan.store, names_of(self.plan)) as told:
                if not told:  # without a list of its own another command's would be taken for it
                    self._discards = None
                self._run_tasks(results, finished)
        finally:
            for log in self._logs.values():  # of runs that an interrupt has stopped
                log.close(failed=True)
        if self._team:
            self._team.dismiss()
        return results

    @property
    def side_by_side(self) -> bool:
        """Whether other processes than this one compute."""
        return self._scheduler is not None or self._processes > 1

    def references(self) -> list[dict[str, Any]]:
        """See `Maker.references`."""
        return self._maker.references()

    @property
    def reference_failures(self) -> list[str]:
        """Why reference rows are missing, one line each."""
        return self._maker.reference_failures

    def _run_tasks(self, results: Sequence[RunResult], finished: Callable[[RunResult], None]) -> None:
        pace = self.pace
        urgency = pace.urgency if pace and self.side_by_side else None
        agenda = Agenda([run_tasks(self.plan, number) for number in range(len(results))], urgency)
        for number in agenda.through:  # said before hours of others' work
            self._finish(results[number], number, agenda)
            finished(results[number])

        def ended(task: Task, outcome: Outcome) -> None:
            if pace:
                pace.ended(task, outcome)
            through = agenda.end(task, outcome)
            self._log_scores(task, outcome, [*agenda.wanting(task)])
            if self._discards and not outcome.failure:
                self._discards.after(task, agenda)
            for number in through:
                self._finish(results[number], number, agenda)
                finished(results[number])

        unneeded = Unneeded(self.plan)
        with self._executor() as executor:
            while True:
                while (task := agenda.next(executor.takes)) is not None:
                    self._open_logs(task, agenda)
                    if pace:
                        pace.began(task)
                    # what is there needs no process; another command may have made it
                    if tuple(task.name.split("/")) in unneeded or self._maker.is_stored(task):
                        ended(task, Outcome(cached=True))
                    else:
                        executor.begin(task)
                if not agenda.running:
                    return
                for task, outcome in executor.ended():
                    ended(task, outcome)
                if pace:
                    pace.drop(agenda.unwanted())
                    pace.say()

    def _executor(self) -> AbstractContextManager[Executor]:
        if self._scheduler is not None:
            from benchmark.execution.cluster import Cluster

            urgency = self.pace.urgency if self.pace else None
            return Cluster(self.plan, self._scheduler, self._log_losses, urgency)
        if not self.side_by_side:
            return nullcontext(OneByOne(self._maker))
        return SideBySide(self.plan, self._processes, self._log_losses)

    def _finish(self, result: RunResult, number: int, agenda: Agenda) -> None:
        """Gather what the run's tasks have made."""
        run = result.run
        if run.status != "planned":
            result.status, result.reason = run.status, run.reason
            console.print(f"{run.title}: {run.status}: {run.reason}", markup=False)
        if (failure := agenda.failures.get(number)) is not None:
            result.status, result.reason = "failed", failure[0]
            console.print(f"{run.title}: FAILED: {failure[0]}", style="red", markup=False)
        self._keep_traceback(run, failure[1] if failure else "")
        for planned in run.stages:
            made = agenda.outcomes.get(artifact_name(planned))
            if made is not None and not made.failure:
                own = agenda.tasks[artifact_name(planned)].run == number
                try:
                    self._gather(result, planned, made.cached or not own, agenda)
                except DataError as error:
                    result.status, result.reason = "failed", str(error)
                    console.print(f"{run.title}: FAILED: {error}", style="red", markup=False)
                    break
        if (log := self._logs.pop(number, None)) is not None:
            log.close(failed=result.status == "failed")

    def _gather(self, result: RunResult, planned: PlannedStage, cached: bool, agenda: Agenda) -> None:
        from benchmark.evaluation.evaluator import NO_MASKS

        name = planned.stage.name
        artifact = self._found(name, planned.key)
        result.artifacts[name] = artifact
        row = {
            "name": name,
            "key": planned.key,
            "kind": planned.stage.yields.value,
            "seconds": artifact.manifest["seconds"],
            "cached": cached,
            "resumed": artifact.manifest.get("resumed", False),
            "bytes": artifact.bytes,
            **_costs(artifact),
            "notes": artifact.manifest.get("notes", []),
            "scoring": None,
        }
        result.stages.append(row)
        if planned.score_key is None:
            return
        scored = agenda.outcomes.get(scores_name(planned))
        if scored is None and planned.needs_masks and not self.plan.dataset.masked(planned.split):
            row["notes"] = [NO_MASKS]
        if scored is None or scored.failure:
            return
        scores = self._found(planned.score_name, planned.score_key)
        result.scores.append((planned, scores.manifest["rows"]))
        scale = result.run.config.scale.name
        row["notes"] = [*scores.manifest["notes"], *threshold_notes(result.run.method, planned.stage, scale)]
        row["scoring"] = {
            "name": planned.score_name,
            "seconds": scores.manifest["seconds"],
            "cached": scored.cached,
            **_costs(scores),
        }

    def _found(self, name: str, key: str) -> StoredArtifact:
        """What a task has made. Raises DataError where somebody has taken it away since."""
        store = self.plan.store
        if (artifact := store.find(name, key) or store.discarded(name, key)) is None:
            raise DataError(
                f"{store.path(name, key)}: not there any more; run the same command again: it makes it anew"
            )
        return artifact

    def _keep_traceback(self, run: PlannedRun, traceback: str) -> None:
        """In the run's folder; "" removes that of an earlier command."""
        if self._tracebacks is None:
            return
        path = self._tracebacks / f"{_file_name(run)}.txt"
        if traceback:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(traceback)
            console.print(f"{run.title}: its traceback is in {path}", markup=False)
        else:
            path.unlink(missing_ok=True)

    def _open_logs(self, task: Task, agenda: Agenda) -> None:
        """Open the logs of all runs that want the task: each logs its losses."""
        self._logged[task.run] = agenda.wanting(task)
        for number in self._logged[task.run]:
            self._open_log(number)

    def _open_log(self, number: int) -> None:
        run = self.plan.runs[number]
        config = run.config
        name = _file_name(run)
        if number not in self._logs and (log := run_log(config.runtime, config.name, name)) is not None:
            self._logs[number] = log

    def _log_losses(self, run: int, values: Mapping[str, float], iteration: int) -> None:
        for number in self._logged.get(run, []):
            if number in self._logs:
                self._logs[number](values, iteration)

    def _log_scores(self, task: Task, outcome: Outcome, runs: Sequence[int]) -> None:
        if task.scoring and not outcome.failure:
            planned = self.plan.runs[task.run].stages[task.stage]
            scores = self.plan.store.find(planned.score_name, str(planned.score_key))
            for run in runs:
                if scores is not None and run in self._logs:
                    self._logs[run](overall_scores(scores.manifest["rows"]), None)


def _file_name(run: PlannedRun) -> str:
    """A run's title as the name of a file or folder: no spaces, no slashes."""
    name = "-".join(part.removeprefix("seed ") for part in run.title.split(" · "))
    return re.sub(r"[^\w.=+-]+", "_", name)


def _costs(artifact: StoredArtifact) -> dict[str, float]:
    """Those of `COSTS` that were recorded of an artifact's making."""
    return {name: artifact.manifest[name] for name in COSTS if artifact.manifest.get(name) is not None}


def plan_in_team(jobs: Sequence[Job], team: Team | None) -> Plan | None:
    """The plan; None in the processes of a team that do not lead, which have then trained with rank 0."""
    if team and not team.leads:
        team.wait()  # rank 0 has planned, so generated data and fetched weights are there
        Maker(plan_jobs(jobs), team).follow()
        return None
    plan = plan_jobs(jobs)
    if team:
        team.wait()
    return plan


def execute(jobs: Sequence[Job], team: Team | None, folder: Path) -> tuple[Runner, list[RunResult]] | None:
    """Plan and run; None where `plan_in_team` gives none. folder: see `Runner`."""
    if (plan := plan_in_team(jobs, team)) is None:
        return None
    runner = Runner(plan, team, folder)
    return runner, runner.run()
