"""The table of trials that is kept: CSV and Markdown, with the command that made it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.tuning.trials import Trial
from reports.text import markdown_row
from results.csv_cells import to_csv

COLUMNS = [
    "method",
    "trial",
    "mIoU %",
    "SD",
    "by seed",
    "best threshold",
    "own threshold",
    "mIoU % at own",
    "seconds",
    "settings",
    "reason",
]


def rows(trials: Sequence[Trial]) -> pd.DataFrame:
    """A row a trial, the best of each method first; scores in %, empty where there are none."""
    ordered = sorted(trials, key=lambda t: (-t.score if t.is_whole else math.inf, t.number))
    methods = list(dict.fromkeys(trial.method for trial in trials))
    return pd.DataFrame(
        [_row(trial) for m in methods for trial in ordered if trial.method == m], columns=COLUMNS
    )


def write(trials: Sequence[Trial], path: Path, command: str, said: str) -> None:
    """Write `path`.csv and `path`.md. said: what was scored and where, one sentence."""
    table = rows(trials)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_csv(table, path.with_name(f"{path.name}.csv"))
    rule = "|---|" + "---:|" * 2 + "---:|---|" + "---:|" * 4 + "---|---|"
    lines = ["# Trials of settings", "", said, "", "```bash", command, "```", ""]
    lines += [markdown_row(COLUMNS), rule, *(markdown_row(list(map(str, row))) for row in table.to_numpy())]
    path.with_name(f"{path.name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(trial: Trial) -> list[str | int]:
    seeds = ", ".join(f"{seed}: {100 * value:.1f}" for seed, value in sorted(trial.by_seed.items()))
    return [
        trial.method,
        trial.number,
        percent(trial.score),
        percent(trial.deviation),
        seeds,
        number(trial.best_threshold),
        number(trial.fixed_threshold),
        percent(trial.at(trial.fixed_threshold)),
        f"{trial.seconds:.0f}" if trial.is_whole else "",
        " ".join(trial.settings) or "preset",
        trial.reason,
    ]


def percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.2f}"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
