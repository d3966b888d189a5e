"""Named ablations of methods: every row's settings run, and a table of the scores beside the paper's numbers.

Artifacts are addressed by content, so rows share what their settings do not change (usually the training).
"""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config import ConfigError, compose
from benchmark.console import console
from benchmark.folders import check_writable
from methods.base import Experiment, ExperimentRow, Method
from methods.registry import all_methods, find_method
from results.experiments import COMPARED, write_experiment
from results.experiments import Experiment as ExperimentTable
from results.reported import find_reported

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.runner import CellResult


@dataclass(frozen=True)
class Options:
    """Where and how an experiment runs; as the options of `run`."""

    dataset: str | None
    scale: str
    protocol: str
    seeds: Sequence[int]
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Measured:
    """One number of the table: `values` in percent, one a seed, by threshold rule (`variant`)."""

    row: str
    column: str
    variant: str
    reported: float | None
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values) if self.values else float("nan")

    @property
    def deviation(self) -> float:
        """Sample standard deviation; NaN for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else float("nan")


def find_experiment(reference: str) -> tuple[Method, Experiment]:
    """Method and experiment of "method/experiment"; ConfigError that names what there is."""
    known = {
        f"{method.name}/{experiment.name}": (method, experiment)
        for method in all_methods().values()
        for experiment in method.experiments
    }
    if reference not in known:
        close = difflib.get_close_matches(reference, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"unknown experiment {reference!r}; {hint}there are {', '.join(known)}")
    return known[reference]


def run_experiment(
    method: Method, experiment: Experiment, options: Options, folder: Path
) -> tuple[list[Measured], list[str]] | None:
    """Run every row; returns the numbers in the table's order, and why some are missing, one line each.

    folder: where the table will be written; tried before anything runs
    None in processes under torchrun other than rank 0. Raises ConfigError before anything runs.
    """
    from benchmark.runner import execute, form_team

    configs = row_configs(method, experiment, options)
    team = form_team(configs[0].runtime)
    if team is None or team.leads:
        check_writable(folder, "--output")
        check_writable(Path(configs[0].runtime.store), "runtime.store")
    measured: list[Measured] = []
    failures: list[str] = []
    for row, config in zip(experiment.rows, configs):
        console.print(f"[bold]{method.name}/{experiment.name}[/bold] · {row.label}", highlight=False)
        done = execute(config, options.seeds, experiment.until, team)
        if done is None:
            continue
        _, results = done
        failures += [
            f"{row.label}: seed {r.cell.seed} {r.status}: {r.reason}" for r in results if r.status != "done"
        ]
        for column, score in zip(experiment.columns, row.scores, strict=True):
            measured += _measured(row.label, column, score, _printed(row, score), results)
    return (measured, failures) if team is None or team.leads else None


def row_configs(method: Method, experiment: Experiment, options: Options) -> list[RunConfig]:
    """Each row's configuration: its own settings over the given ones.

    Raises ConfigError for an override that no row takes: a misspelt key, a method of no row, or what all set.
    """
    names = [find_method(row.method).name if row.method else method.name for row in experiment.rows]
    where = (options.dataset, options.scale, options.protocol)
    compose(list(dict.fromkeys(names)), *where, options.overrides)
    own = [
        [f"method.{name}.{setting}" for setting in row.settings] for name, row in zip(names, experiment.rows)
    ]
    for override in options.overrides:
        key = override.partition("=")[0]
        rows = [settings for name, settings in zip(names, own) if _concerns(override, name)]
        if all(any(s.partition("=")[0] == key for s in settings) for settings in rows):
            raise ConfigError(
                f"setting {key!r}: every row of {method.name}/{experiment.name} sets it itself; leave it out"
            )
    return [
        compose([name], *where, [*(o for o in options.overrides if _concerns(o, name)), *settings])
        for name, settings in zip(names, own)
    ]


def _concerns(override: str, method: str) -> bool:
    """Whether an override belongs to a row: rows of other entries do not know the method's settings."""
    return not override.startswith("method.") or override.startswith(f"method.{method}.")


def _printed(row: ExperimentRow, score: str) -> float | None:
    """The paper's number of a row at one score, in percent."""
    stage, _, metric = score.partition(":")
    number = find_reported(row.reported, stage, metric or "miou") if row.reported else None
    return number.printed if number else None


def _measured(
    label: str, column: str, score: str, reported: float | None, results: Sequence[CellResult]
) -> list[Measured]:
    values: dict[str, list[float]] = {}
    stage, _, metric = score.partition(":")
    for result in results:
        for _, rows in result.scores:
            for row in rows:
                if (row["stage"], row["metric"]) == (stage, metric or "miou") and row["variant"] != "curve":
                    values.setdefault(row["variant"], []).append(100 * row["value"])
    if not values:
        values[COMPARED[0]] = []
    return [Measured(label, column, v, reported, tuple(found)) for v, found in values.items()]


def write_table(
    measured: Sequence[Measured], method: Method, experiment: Experiment, options: Options, folder: Path
) -> list[Path]:
    """Write the table as CSV (every threshold rule) and as a fragment of HTML; returns the files."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "row": [m.row for m in measured],
            "column": [m.column for m in measured],
            "threshold rule": [m.variant for m in measured],
            "paper": [m.reported for m in measured],
            "mean": [round(m.mean, 2) for m in measured],
            "deviation": [round(m.deviation, 2) for m in measured],
            "seeds": [len(m.values) for m in measured],
        }
    )
    title, caption = f"{method.title}: {experiment.title}", _caption(experiment, options)
    name = f"{method.name}-{experiment.name}"
    written = write_experiment(folder, ExperimentTable(name, title, caption, table))
    fragment = written.with_suffix(".html")
    compared = table[table["threshold rule"].isin(COMPARED)].drop(columns="threshold rule")
    text = f"<h3>{title}</h3>\n<p>{caption}</p>\n" + compared.to_html(index=False, na_rep="–", border=0)
    fragment.write_text(text, encoding="utf-8")
    return [written, fragment]


def print_table(
    measured: Sequence[Measured], method: Method, experiment: Experiment, options: Options
) -> None:
    """The table in the terminal: what was measured beside the paper's numbers, each with its difference."""
    from rich import box
    from rich.table import Table

    table = Table(title=f"{method.title}: {experiment.title}", caption=_caption(experiment, options),
                  box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")  # fmt: skip
    table.add_column("")
    for column in experiment.columns:
        table.add_column(f"{column}\npaper", justify="right", style="dim")
        table.add_column(f"{column}\nhere", justify="right")
    cells = {(m.row, m.column): m for m in measured if m.variant in COMPARED}
    for row in experiment.rows:
        line = [row.label]
        for column in experiment.columns:
            cell = cells[row.label, column]
            spread = f" ±{cell.deviation:.1f}" if len(cell.values) > 1 else ""
            line += ["–" if cell.reported is None else f"{cell.reported:.2f}"]
            line += [f"{cell.mean:.2f}{spread}" if cell.values else "–"]
        table.add_row(*line)
    console.print(table)


def _caption(experiment: Experiment, options: Options) -> str:
    seeds = ", ".join(map(str, options.seeds))
    return (
        f"{_metrics(experiment)} in %; paper: {experiment.dataset}; here: "
        f"{options.dataset or 'default data set'} at scale {options.scale}, seeds {seeds}; "
        "CAMs at their oracle thresholds"
    )


def _metrics(experiment: Experiment) -> str:
    found = {score.partition(":")[2] or "miou" for row in experiment.rows for score in row.scores}
    return ", ".join(sorted("mIoU" if metric == "miou" else metric.replace("_", " ") for metric in found))
