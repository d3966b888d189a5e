"""Runs named ablations of methods: every row's settings, and a table of the scores beside the paper's numbers.

Artifacts are addressed by content, so rows share what their settings do not change (usually the training), and a
command that is run again goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.console import console
from benchmark.execution.processes import process_count, threads_each
from benchmark.experiments.diagnoses import Diagnoses, diagnoses_of, diagnosis_of
from benchmark.experiments.measured import measure, scored
from benchmark.experiments.table import Options, Table, all_jobs
from benchmark.experiments.tables import print_table, write_table
from benchmark.folders import check_writable
from benchmark.planning.plan import Job, plan_jobs
from benchmark.timing.estimate import time_estimate
from benchmark.timing.machine_speed import measured_speed
from methods.experiment import Claim
from results.directions import Direction, Scored, claims, directions, write_directions
from results.experiments import seeds_written, write_row_records

if TYPE_CHECKING:
    from benchmark.execution.runner import Runner, RunResult


def run_experiments(tables: Sequence[Table], options: Options, folder: Path) -> list[str] | None:
    """Run experiments one after the other, write and print each one's table; returns failures, one line each.

    folder: where tables and comparisons go, inside that of the run, which is tried before anything runs
    None in processes under torchrun other than rank 0. Raises ConfigError before anything runs.
    """
    from benchmark.execution.distributed import form_team
    from benchmark.execution.runner import execute
    from reports.experiments_summary import write_summary

    diagnoses = {table.name: diagnoses_of(table.method) for table in tables}
    jobs = all_jobs(tables)
    team = form_team(jobs[0].config.runtime) if jobs else None
    leads = team is None or team.leads
    if leads:
        check_writable(folder.parent, "--output")
        if jobs:
            check_writable(Path(jobs[0].config.runtime.store), "runtime.store")
            if jobs[0].config.runtime.scheduler is None:
                announce_time(jobs)
    failures: list[str] = []
    for table in tables:
        console.print(f"[bold]{table.name}[/bold] · {table.experiment.title}", highlight=False)
        own = all_jobs([table])
        done = execute(own, team, folder) if own else None
        if leads:
            found, failed = _write(table, done, options, folder)
            write_directions(folder, table.file_name, explained(table, found, diagnoses[table.name]))
            write_summary(folder)  # an interrupt leaves that of the tables so far
            failures += failed
    return failures if leads else None


def explained(table: Table, found: Sequence[Direction], diagnoses: Diagnoses) -> list[Direction]:
    """Comparisons of a table with where they were run, and why they fall short, as the table is set, if they do."""
    where = (table.place, table.experiment.name)
    return [
        replace(
            each,
            place=table.place,
            conditions=table.conditions,
            diagnosis=diagnosis_of(diagnoses, *where, each.row, each.column)
            if not each.verdict and not table.conditions
            else "",
        )
        for each in found
    ]


def announce_time(jobs: Sequence[Job]) -> None:
    """Measure this machine's speed and say how long it will take."""
    plan = plan_jobs(jobs, fetching=False)
    processes = process_count(plan)
    speed = measured_speed(plan.config.runtime, threads_each(processes))
    time = time_estimate(plan, speed, processes)
    if time.seconds or time.todo:
        console.print(f"{time.todo} stages to do: {time}", markup=False)


def _write(
    table: Table, done: tuple[Runner, list[RunResult]] | None, options: Options, folder: Path
) -> tuple[list[Direction], list[str]]:
    """Table and comparisons of an experiment that has run, and why scores are missing where something failed."""
    from benchmark.experiments.row_panels import illustrate_rows
    from benchmark.run_folder.leaderboard import records_of_run, resample_run
    from results.io import records_frame

    results = done[1] if done else []
    by_row: list[list[RunResult]] = []
    reasons: list[str] = []
    failures: list[str] = []
    at = 0
    for row, job in zip(table.experiment.rows, table.jobs, strict=True):
        own = [] if isinstance(job, str) else results[at : at + len(job.seeds)]
        at += len(own)
        missing = [r for r in own if r.status != "done"]
        for result in missing:
            line = f"{row.label}: seed {result.run.seed} {result.status}: {result.reason}"
            console.print(line, markup=False)
            failures += [f"{table.name}: {line}"] if result.status == "failed" else []
        by_row.append(own)
        reasons.append(job if isinstance(job, str) else missing[0].reason if missing else "")
    if done:
        for result in results:
            resample_run(done[0].plan, result, folder)
        rows = list(zip(table.experiment.rows, by_row, strict=True))
        illustrate_rows(done[0].plan, table.file_name, rows, folder)
    measured, found = [], []
    cells: dict[tuple[str, str], Scored] = {}
    for column in table.columns:
        of_column = [
            measure(row, column, score, own)
            for row, score, own in zip(table.experiment.rows, column.scores, by_row, strict=True)
        ]
        measured += [each for of_row in of_column for each in of_row]
        compared = [
            scored(row, score, own, folder, reason)
            for row, score, own, reason in zip(
                table.experiment.rows, column.scores, by_row, reasons, strict=True
            )
        ]
        cells |= {(cell.label, column.title): cell for cell in compared}
        if column.is_judged:
            found += directions(
                table.name, column.title, compared, column.less_is_better, column.smallest_effect
            )
    found += _claims(table, cells)
    records = {
        row.label: records_frame(record for result in own for record in records_of_run(result))
        for row, own in zip(table.experiment.rows, by_row, strict=True)
    }
    if (before := seeds_written(folder, table.file_name)) > len(options.seeds):
        console.print(
            f"The table of {table.name} was of {before} seeds and is of {len(options.seeds)} now; all that is computed "
            "stays stored, so --seeds with all of them brings it back",
            markup=False,
        )
    write_row_records(folder, table.file_name, records)
    write_table(measured, reasons, table, options, folder)
    print_table(measured, table, options)
    return found, failures


def _claims(table: Table, cells: Mapping[tuple[str, str], Scored]) -> list[Direction]:
    """What the paper claims of cells without a number, the claims of one cell together; cells: by row and column."""
    by_cell: dict[tuple[str, str], list[Claim]] = {}
    for claim in table.experiment.claims:
        by_cell.setdefault((claim.row, claim.column), []).append(claim)
    found = []
    for column in table.columns:
        for (row, title), own in by_cell.items():
            if title == column.title:
                others = [
                    (
                        replace(cells[claim.than, claim.than_column or title], label=claim.compared),
                        claim.source,
                    )
                    for claim in own
                ]
                found += claims(table.name, title, cells[row, title], others, column.less_is_better)
    return found
