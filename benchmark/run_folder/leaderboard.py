"""From a plan's results to the run folder: records, runs, panels, and the reports made of them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from benchmark.config import plain
from benchmark.console import console
from benchmark.execution.finished import FinishedRuns
from benchmark.execution.runner import COSTS, Runner, RunResult
from benchmark.planning.changes import data_of, run_identity
from benchmark.planning.method_info import method_info
from benchmark.planning.plan import Plan
from benchmark.profiling.counts import Costs
from benchmark.provenance import mixed
from benchmark.run_folder.panels import illustrate
from benchmark.run_folder.traces import described_stages
from methods.base import settings_of_inputs
from results.schema import Record, RunRecord

if TYPE_CHECKING:
    from results.merge import Identity

PAUSE = 4
"""Wait at least this many times as long as the last writing took: runs may finish faster than reports are built."""


def write_board(
    plan: Plan,
    results: Sequence[RunResult],
    references: Sequence[dict[str, Any]],
    run_dir: Path,
    order: Sequence[Identity] = (),
) -> dict[str, Path]:
    """Add records, runs and panels of a plan to a run folder and write its reports; returns these by name.

    Runs that earlier commands left in the folder stay on the leaderboard, see `results.merge`; order: `add_records`'
    """
    from reports import build_reports
    from results.merge import add_records, run_lock

    with run_lock(run_dir):
        records, runs = _rows(plan, results, references, run_dir)
        for run in add_records(run_dir, records, runs, order):
            console.print(
                f"{run.method} seed {run.seed} {run.status}: the leaderboard keeps its earlier result",
                markup=False,
            )
        illustrate(plan, run_dir)
        return build_reports(run_dir)


class GrowingBoard:
    """The leaderboard in the terminal, the run folder and its reports, extended as runs finish.

    Use it as a context manager; left without an exception, `reports` are complete. Where runs go on in other
    processes it is written in a thread, which they do not wait for.
    """

    def __init__(self, runner: Runner, run_dir: Path) -> None:
        from results.merge import earlier_run, identity

        self.reports: dict[str, Path] = {}
        """The newest reports by name."""
        self._runner, self._run_dir = runner, run_dir
        self._lock, self._new = Lock(), list[RunResult]()
        self._thread = ThreadPoolExecutor(1, "leaderboard")
        self._took, self._ended = 0.0, -math.inf
        self._finished = FinishedRuns(runner.plan.runs)
        before = earlier_run(run_dir)
        known = {identity(run) for run in before.runs} if before else set()
        ours = [identity(run_identity(c.config, c.method.name, c.seed)) for c in runner.plan.runs]
        self._order = [name for name in dict.fromkeys(ours) if name not in known]

    def __enter__(self) -> GrowingBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = None
        if kind is None or issubclass(kind, KeyboardInterrupt):
            last = self._thread.submit(self._write)
        self._thread.shutdown()
        if last is not None:
            last.result()

    def add(self, result: RunResult) -> None:
        """Add a finished run to the leaderboard."""
        pace = self._runner.pace
        self._finished.show(result, pace.left() if pace else "")
        with self._lock:
            self._new.append(result)
        if time.perf_counter() - self._ended < PAUSE * self._took:
            return  # it comes with the next one, or at the end
        writing = self._thread.submit(self._try_to_write)
        if not self._runner.side_by_side:
            writing.result()  # this process computes: nothing else may change its threads meanwhile

    def _try_to_write(self) -> None:
        try:
            self._write()
        except Exception as error:  # tried again with the next run, and at the end
            reason = " ".join(str(error).split()) or type(error).__name__
            console.print(f"the leaderboard could not be written yet: {reason}", style="red", markup=False)

    def _write(self) -> None:
        with self._lock:
            new, self._new = self._new, []
        if not new:  # they came while the ones before were written
            return
        began = time.perf_counter()
        try:
            references = self._runner.references()
            self.reports = write_board(self._runner.plan, new, references, self._run_dir, self._order)
        except BaseException:
            with self._lock:
                self._new = [*new, *self._new]
            raise
        self._ended = time.perf_counter()
        self._took = self._ended - began


def _rows(
    plan: Plan, results: Sequence[RunResult], references: Sequence[dict[str, Any]], run_dir: Path
) -> tuple[list[Record], list[RunRecord]]:
    records: list[Record] = []
    runs: list[RunRecord] = []
    costs = Costs(plan)
    for row in references:
        values = {k: v for k, v in row.items() if k != "reference"}
        records.append(Record(**run_identity(plan.config, row["reference"], -1), **values))
    for result in results:
        identity = run_identity(result.run.config, result.run.method.name, result.run.seed)
        records += records_of_run(result)
        runs.append(_run_record(plan, result, identity, run_dir, costs))
        resample_run(plan, result, run_dir)
    return records, runs


def records_of_run(result: RunResult) -> list[Record]:
    """All numbers of a run: scores, and time and memory of its stages and their scoring."""
    identity = run_identity(result.run.config, result.run.method.name, result.run.seed)
    scores = [Record(**identity, **row, key=planned.key) for planned, rows in result.scores for row in rows]
    costs = [
        Record(
            **identity,
            stage=cost["name"],
            variant="",
            split="",
            metric=metric,
            value=cost[metric],
            key=cost["key"],
        )
        for cost in result.costs()
        for metric in ("seconds", *COSTS)
        if metric in cost
    ]
    return scores + costs


def resample_run(plan: Plan, result: RunResult, run_dir: Path) -> None:
    """Leave in the run folder what the reports' intervals and tests need of the per-image counts."""
    from benchmark.evaluation.bootstrap import write_resamples

    data = data_of(result.run.config, result.run.method.name)
    for planned, rows in result.scores:
        if planned.score_key is not None and rows:
            counts = plan.store.path(planned.score_name, planned.score_key) / "counts.parquet"
            held_out = plan.config.evaluation.held_out
            write_resamples(run_dir, planned.key, planned.score_key, counts, rows, held_out, data)


def _run_record(
    plan: Plan, result: RunResult, identity: dict[str, Any], run_dir: Path, costs: Costs
) -> RunRecord:
    method = result.run.method
    stages = [planned.stage for planned in result.run.stages]
    of = {stage.name: stage for stage in stages}
    made = [p for p in result.run.stages if p.stage.name in result.artifacts]
    weights = {reference: content for planned in made for reference, content in planned.weights.items()}
    last = max((e.manifest for e in result.artifacts.values()), key=lambda m: m["created"], default={})
    return RunRecord(
        **identity,
        status=result.status,
        reason=result.reason,
        method_info=method_info(method, result.run),
        settings={
            "dataset": plain(plan.config.dataset),
            "protocol": plain(result.run.config.protocol),
            "evaluation": plain(plan.config.evaluation),
            "method": plain(result.run.config.method[method.name]),
        },
        stages=[
            s
            | {"path": os.path.relpath(plan.store.path(s["name"], s["key"]), run_dir)}
            | costs.of(of[s["name"]], settings_of_inputs(of[s["name"]], stages), result.artifacts[s["name"]])
            for s in described_stages(result)
        ],
        provenance={
            **last.get("provenance", {}),
            "weights": weights,
            "mixed": mixed({n: e.manifest.get("provenance", {}) for n, e in result.artifacts.items()}),
            "seconds": round(result.seconds, 3),
            "finished": last.get("created", ""),
        },
    )
