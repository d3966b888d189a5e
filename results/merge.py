"""Adding the results of a command to a run folder: what earlier commands left there stays.

A run is identified by `RUN_KEYS`. The same run again replaces its former self, with three exceptions, so that nothing is
lost: a failure that got no further does not replace a result, a command that stops early (`--until`) leaves the
later stages of the same artifacts, and reference rows that could not be made anew stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from results.aggregate import KEYS, REFERENCE
from results.io import RUNS_FILE, StoredRuns, read_run, records_frame, write_run
from results.schema import Record, RunRecord

RUN_KEYS = [*KEYS, "seed"]
"""What identifies a run."""

Identity = tuple[Any, ...]


def run_lock(run_dir: Path) -> FileLock:
    """Held while a run folder is changed: commands may share one."""
    run_dir.mkdir(parents=True, exist_ok=True)
    return FileLock(run_dir / ".lock")


def earlier_run(run_dir: Path) -> StoredRuns | None:
    """What the folder holds, None where it is no run yet. Raises DataError if it cannot be read."""
    return read_run(run_dir) if (run_dir / RUNS_FILE).exists() else None


def add_records(
    run_dir: Path, records: Sequence[Record], runs: Sequence[RunRecord], order: Sequence[Identity] = ()
) -> list[RunRecord]:
    """Write the records and runs beside the earlier ones; returns those runs whose earlier result stays instead.

    order: of runs that come one by one, as they end: they change places among each other
    The caller holds `run_lock`.
    """
    frame, rows = records_frame(records), [run.as_dict() for run in runs]
    earlier = earlier_run(run_dir)
    kept: set[Identity] = set()
    if earlier is not None:
        frame, rows, kept = merge(earlier, frame, rows, order)
    write_run(run_dir, frame, rows)
    return [run for run in runs if identity(run.as_dict()) in kept]


def identity(run: dict[str, Any]) -> Identity:
    """The `RUN_KEYS` of a run."""
    return tuple(run[key] for key in RUN_KEYS)


def merge(
    earlier: StoredRuns, records: pd.DataFrame, runs: Sequence[dict[str, Any]], order: Sequence[Identity] = ()
) -> tuple[pd.DataFrame, list[dict[str, Any]], set[Identity]]:
    """Records and runs of both, and the runs whose earlier result stays; earlier ones keep their places."""
    merged = {identity(run): run for run in earlier.runs}
    kept: set[Identity] = set()
    carried: set[tuple[Identity, str]] = set()
    for run in runs:
        name = identity(run)
        before = merged.get(name)
        if before is None:
            merged[name] = run
            continue
        further = _further_stages(before, run)
        if before["status"] == "done" and run["status"] != "done" and not _further_stages(run, before):
            kept.add(name)
        elif further and _same_artifacts(before, run):
            carried |= {(name, stage["key"]) for stage in further}
            merged[name] = _with_stages(run, before, further)
        else:
            merged[name] = run
    merged = _ordered(merged, order)
    replaced = {identity(run) for run in runs} - kept
    names, new_names = _identities(earlier.records), _identities(records)
    references = {
        (name, stage) for name, stage in zip(new_names, records["stage"]) if name[3].startswith(REFERENCE)
    }
    stays = [
        name not in replaced and (name, stage) not in references
        for name, stage in zip(names, earlier.records["stage"])
    ]
    comes = [name not in kept for name in new_names]
    follows = [(name, key) in carried for name, key in zip(names, earlier.records["key"])]
    # An entry's further stages stand after those that were made again, as in its graph.
    parts = [earlier.records[stays], records[comes], earlier.records[follows]]
    parts = [part for part in parts if not part.empty]
    frame = pd.concat(parts) if parts else records
    # In the runs' order, whatever the order and the groups they came in; the references, which are no runs, first.
    places = {name: place for place, name in enumerate(merged)}
    place = pd.Series([places.get(name, -1) for name in _identities(frame)], dtype="int64")
    return frame.iloc[place.argsort(kind="stable")].reset_index(drop=True), list(merged.values()), kept


def _ordered(
    runs: dict[Identity, dict[str, Any]], order: Sequence[Identity]
) -> dict[Identity, dict[str, Any]]:
    """Those of `order` in that order, in the places that they have together."""
    names = list(runs)
    places = [place for place, name in enumerate(names) if name in set(order)]
    for place, name in zip(places, (name for name in order if name in runs), strict=True):
        names[place] = name
    return {name: runs[name] for name in names}


def _identities(records: pd.DataFrame) -> list[Identity]:
    return list(records[RUN_KEYS].itertuples(index=False, name=None))


def _further_stages(run: dict[str, Any], other: dict[str, Any]) -> list[dict[str, Any]]:
    """Stages that one run has and the other lacks."""
    names = {stage["name"] for stage in other["stages"]}
    return [stage for stage in run["stages"] if stage["name"] not in names]


def _same_artifacts(before: dict[str, Any], run: dict[str, Any]) -> bool:
    """Whether the stages that both runs have are the same ones, so that the further ones follow from them."""
    keys = {stage["name"]: stage["key"] for stage in before["stages"]}
    return all(keys.get(stage["name"], stage["key"]) == stage["key"] for stage in run["stages"])


def _with_stages(
    run: dict[str, Any], before: dict[str, Any], further: list[dict[str, Any]]
) -> dict[str, Any]:
    """The new run with the earlier one's further stages, their pictures, how they ended and with what."""
    ended = before if run["status"] == "done" else run
    return {
        **run,
        "status": ended["status"],
        "reason": ended["reason"],
        "provenance": ended["provenance"],
        "stages": [*run["stages"], *further],
        "panels": before["panels"] or run["panels"],
    }
