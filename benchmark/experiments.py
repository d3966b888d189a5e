"""Named ablations of methods: every row's settings run, and a table of the scores beside the paper's numbers.

Artifacts are addressed by content, so rows share what their settings do not change (usually the training), and a
command that is run again goes on where it stopped.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config import ConfigError, compose
from benchmark.console import console
from benchmark.diagnoses import Diagnoses, diagnoses_of, diagnosis_of
from benchmark.estimate import time_estimate
from benchmark.experiment_tables import print_table, write_table
from benchmark.folders import check_writable
from benchmark.machine_speed import measured_speed
from benchmark.measured import Column, measure, scored
from benchmark.plan import Job, plan_jobs
from benchmark.processes import process_count, threads_each
from methods.experiment import Claim, Experiment, ExperimentRow
from methods.registry import all_methods, find_method
from results.directions import NOT_REPRODUCED, Direction, Scored, claims, directions, write_directions
from results.experiments import file_name, seeds_written, write_row_records
from results.schema import CHANGES_SEPARATOR

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.runner import CellResult, Runner
    from methods.base import Method


@dataclass(frozen=True)
class Options:
    """Where and how experiments run; as the options of `run`."""

    dataset: str
    scale: str
    protocol: str
    seeds: Sequence[int]
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """An experiment of a method, with each row's job, or why it has none.

    place: "<data set>-<scale>"
    conditions: what of the given overrides decides numbers of its rows, "key=value; ..."
    """

    method: Method
    experiment: Experiment
    jobs: tuple[Job | str, ...]
    place: str
    conditions: str = ""

    @property
    def name(self) -> str:
        return f"{self.method.name}/{self.experiment.name}"

    @property
    def columns(self) -> list[Column]:
        """Column by column, what each row is read by."""
        rows = self.experiment.rows
        return [
            Column(title, tuple(row.scores[number] for row in rows), title not in self.experiment.unjudged)
            for number, title in enumerate(self.experiment.columns)
        ]

    @property
    def file_name(self) -> str:
        """Of its files in the run folder."""
        return file_name(self.name, self.place, self.conditions)


def find_experiments(text: str) -> list[tuple[Method, Experiment]]:
    """Those of a comma-separated list of METHOD/EXPERIMENT; `all` in it: every one with something of a paper to compare.

    ConfigError that names what there is.
    """
    known = {
        f"{method.name}/{experiment.name}": (method, experiment)
        for method in all_methods().values()
        for experiment in method.experiments
    }
    compared = [name for name, (_, experiment) in known.items() if _is_compared(experiment)]
    given = [part.strip() for part in text.split(",") if part.strip()]
    names = list(dict.fromkeys(n for name in given for n in (compared if name == "all" else [name])))
    for name in names or [text]:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"unknown experiment {name!r}; {hint}there are all, {', '.join(known)}")
    return [known[name] for name in names]


def _is_compared(experiment: Experiment) -> bool:
    return bool(experiment.claims) or sum(bool(row.reported) for row in experiment.rows) > 1


def make_tables(chosen: Sequence[tuple[Method, Experiment]], options: Options) -> list[Table]:
    """Each experiment with its rows' jobs: their own settings over the given ones.

    Raises ConfigError for an override that no row takes: a misspelt key, a method of no row, or what all set.
    """
    if options.protocol != "paper":  # another's refiner and segmenter would take the place of the rows' own
        raise ConfigError(
            f"--protocol {options.protocol}: the papers' tables are of protocol paper; leave it out"
        )
    rows = [(_entry(method, row), row) for method, experiment in chosen for row in experiment.rows]
    where = (options.dataset, options.scale, options.protocol)
    compose(list(dict.fromkeys(name for name, _ in rows)), *where, options.overrides)
    for override in options.overrides:
        key = override.partition("=")[0]
        own = [_own(name, row) for name, row in rows if _concerns(override, name)]
        if all(any(s.partition("=")[0] == key for s in settings) for settings in own):
            names = ", ".join(f"{method.name}/{experiment.name}" for method, experiment in chosen)
            raise ConfigError(f"setting {key!r}: every row of {names} sets it itself; leave it out")

    composed: dict[tuple[str, ...], RunConfig] = {}

    def job(method: Method, experiment: Experiment, row: ExperimentRow) -> Job | str:
        name = _entry(method, row)
        owner = f"{method.name}/" if name != method.name else ""
        if row.unavailable:
            return row.unavailable
        if row.scales and options.scale not in row.scales:
            return f"needs scale {' or '.join(row.scales)}"
        given = [override for override in options.overrides if _concerns(override, name)]
        settings = (*given, *_own(name, row))
        if (name, *settings) not in composed:
            composed[name, *settings] = compose([name], *where, settings)
        scores = tuple(dict.fromkeys(score.partition(":")[0] for score in row.scores))
        label = f"{owner}{experiment.name}: {row.label}"
        return Job(composed[name, *settings], options.seeds, scores=scores, label=label)

    tables = []
    for method, experiment in chosen:
        jobs = tuple(job(method, experiment, row) for row in experiment.rows)
        changed = [
            part
            for row, own in zip(experiment.rows, jobs, strict=True)
            if isinstance(own, Job)
            for part in _changed(own.config, _entry(method, row), options.overrides, row)
        ]
        conditions = CHANGES_SEPARATOR.join(dict.fromkeys(changed))
        tables.append(Table(method, experiment, jobs, f"{options.dataset}-{options.scale}", conditions))
    return tables


def _changed(config: RunConfig, name: str, overrides: Sequence[str], row: ExperimentRow) -> list[str]:
    """``key=value`` of the settings of a row that were given, decide numbers and are not the default.

    So is the number of processes, which torchrun gives.
    """
    from benchmark.changes import cell_changes
    from results.changes import changes_of, is_of_the_run, is_place

    given = [override.partition("=")[0].lstrip("+~") for override in overrides]
    own = {setting.partition("=")[0] for setting in _own(name, row)}
    parts = [
        part if is_of_the_run(part) else f"method.{name}.{part}"
        for part in changes_of(cell_changes(config, name))
    ]
    keys = [part.partition("=")[0] for part in parts]
    return [
        part
        for part, key in zip(parts, keys, strict=True)
        if key == "processes"
        or (
            key not in own
            and not is_place(part, config.dataset.name)
            and any(key == g or key.startswith(f"{g}.") for g in given)
        )
    ]


def _entry(method: Method, row: ExperimentRow) -> str:
    """Whose row it is."""
    return find_method(row.method).name if row.method else method.name


def _own(name: str, row: ExperimentRow) -> list[str]:
    return [f"method.{name}.{setting}" for setting in row.settings]


def _concerns(override: str, method: str) -> bool:
    """Whether an override belongs to a row: rows of other entries do not know the method's settings."""
    return not override.startswith("method.") or override.startswith(f"method.{method}.")


def all_jobs(tables: Sequence[Table]) -> list[Job]:
    """Those of all rows that can be run."""
    return [job for table in tables for job in table.jobs if isinstance(job, Job)]


def run_experiments(tables: Sequence[Table], options: Options, folder: Path) -> list[str] | None:
    """Run experiments one after the other, write and print each one's table; returns failures, one line each.

    folder: where tables and comparisons go, inside that of the run, which is tried before anything runs
    None in processes under torchrun other than rank 0. Raises ConfigError before anything runs.
    """
    from benchmark.distributed import form_team
    from benchmark.runner import execute
    from reports import reproduction

    diagnoses = {table.name: diagnoses_of(table.method) for table in tables}
    jobs = all_jobs(tables)
    team = form_team(jobs[0].config.runtime) if jobs else None
    leads = team is None or team.leads
    if leads:
        check_writable(folder.parent, "--output")
        if jobs:
            check_writable(Path(jobs[0].config.runtime.store), "runtime.store")
            announce_time(jobs)
    failures: list[str] = []
    for table in tables:
        console.print(f"[bold]{table.name}[/bold] · {table.experiment.title}", highlight=False)
        own = all_jobs([table])
        done = execute(own, team) if own else None
        if leads:
            found, failed = _write(table, done, options, folder)
            write_directions(folder, table.file_name, explained(table, found, diagnoses[table.name]))
            reproduction.write_summary(folder)  # an interrupt leaves that of the tables so far
            failures += failed
    return failures if leads else None


def explained(table: Table, found: Sequence[Direction], diagnoses: Diagnoses) -> list[Direction]:
    """Comparisons of a table with where they were run, and why where one does not reproduce as the table is set."""
    where = (table.place, table.experiment.name)
    return [
        replace(
            each,
            place=table.place,
            conditions=table.conditions,
            diagnosis=diagnosis_of(diagnoses, *where, each.row, each.column)
            if each.verdict == NOT_REPRODUCED and not table.conditions
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
    table: Table, done: tuple[Runner, list[CellResult]] | None, options: Options, folder: Path
) -> tuple[list[Direction], list[str]]:
    """Table and comparisons of an experiment that has run, and why scores are missing where something failed."""
    from benchmark.board import cell_records, resample_cell
    from results.io import records_frame

    results = done[1] if done else []
    by_row: list[list[CellResult]] = []
    reasons: list[str] = []
    failures: list[str] = []
    at = 0
    for row, job in zip(table.experiment.rows, table.jobs, strict=True):
        own = [] if isinstance(job, str) else results[at : at + len(job.seeds)]
        at += len(own)
        missing = [r for r in own if r.status != "done"]
        for result in missing:
            line = f"{row.label}: seed {result.cell.seed} {result.status}: {result.reason}"
            console.print(line, markup=False)
            failures += [f"{table.name}: {line}"] if result.status == "failed" else []
        by_row.append(own)
        reasons.append(job if isinstance(job, str) else missing[0].reason if missing else "")
    if done:
        for result in results:
            resample_cell(done[0].plan, result, folder)
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
            found += directions(table.name, column.title, compared, column.less_is_better)
    found += _claims(table, cells)
    records = {
        row.label: records_frame(record for result in own for record in cell_records(result))
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
