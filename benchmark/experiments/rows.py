"""Which experiments were asked for, and the jobs of their rows: each row's own settings over the given ones."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.config import compose
from benchmark.experiments.table import Options, Table
from benchmark.failures import ConfigError
from benchmark.planning.plan import Job
from methods.experiment import Experiment, ExperimentRow
from methods.registry import all_experiments, find_method
from results.schema import CHANGES_SEPARATOR

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from methods.base import Method


def find_experiments(text: str) -> list[tuple[Method, Experiment]]:
    """Those of a comma-separated list of METHOD/EXPERIMENT; `all` in it: every one with something of a paper to compare.

    ConfigError that names what there is, or why a method's cannot be read.
    """
    known, faulty = all_experiments()
    compared = [name for name, (_, experiment) in known.items() if _is_compared(experiment)]
    given = [part.strip() for part in text.split(",") if part.strip()]
    names = list(dict.fromkeys(n for name in given for n in (compared if name == "all" else [name])))
    for name in names or [text]:
        if (reason := faulty.get(name.partition("/")[0])) is not None:
            raise ConfigError(reason)
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
    from benchmark.planning.changes import run_changes
    from results.changes import changes_of, is_of_the_run, is_place

    given = [override.partition("=")[0].lstrip("+~") for override in overrides]
    own = {setting.partition("=")[0] for setting in _own(name, row)}
    parts = [
        part if is_of_the_run(part) else f"method.{name}.{part}"
        for part in changes_of(run_changes(config, name))
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
