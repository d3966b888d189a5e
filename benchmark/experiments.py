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
from benchmark.plan import make_plan
from methods.base import Experiment, ExperimentRow, Method
from methods.registry import all_methods, find_method

if TYPE_CHECKING:
    from benchmark.runner import CellResult

COMPARED = ("oracle", "")
"""Variants whose values stand beside the paper's: for CAMs the oracle threshold, which papers print."""


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
    method: Method, experiment: Experiment, options: Options
) -> tuple[list[Measured], list[str]]:
    """Run every row; returns the numbers in the table's order, and why some are missing, one line each."""
    measured: list[Measured] = []
    failures: list[str] = []
    for row in experiment.rows:
        console.print(f"[bold]{method.name}/{experiment.name}[/bold] · {row.label}", highlight=False)
        results = _run_row(method, experiment, row, options)
        failures += [
            f"{row.label}: seed {r.cell.seed} {r.status}: {r.reason}" for r in results if r.status != "done"
        ]
        for column, score, reported in zip(experiment.columns, row.scores, row.reported, strict=True):
            measured += _measured(row.label, column, score, reported, results)
    return measured, failures


def _run_row(
    method: Method, experiment: Experiment, row: ExperimentRow, options: Options
) -> list[CellResult]:
    from benchmark.runner import Runner

    name = find_method(row.method).name if row.method else method.name
    given = [o for o in options.overrides if _concerns(o, name)]
    settings = [*given, *(f"method.{name}.{setting}" for setting in row.settings)]
    config = compose([name], options.dataset, options.scale, options.protocol, settings)
    return Runner(make_plan(config, options.seeds, experiment.until)).run()


def _concerns(override: str, method: str) -> bool:
    """Whether an override belongs to a row: rows of other entries do not know the method's settings."""
    return not override.startswith("method.") or override.startswith(f"method.{method}.")


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

    folder.mkdir(parents=True, exist_ok=True)
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
    files = [folder / f"{method.name}-{experiment.name}.{suffix}" for suffix in ("csv", "html")]
    files[0].write_text(table.to_csv(index=False), encoding="utf-8")
    caption = f"<h3>{method.title}: {experiment.title}</h3>\n<p>{_caption(experiment, options)}</p>\n"
    compared = table[table["threshold rule"].isin(COMPARED)].drop(columns="threshold rule")
    files[1].write_text(caption + compared.to_html(index=False, na_rep="–", border=0), encoding="utf-8")
    return files


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
