"""What changed between two runs: scores, settings, versions, and which entries there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.aggregate import KEYS, SCORES, as_rows, leaderboard
from results.intervals import Sampled, compare, seed_noise
from results.io import StoredRuns
from results.significance import sampled_entries

_UNINFORMATIVE = ("started", "finished", "seconds")
"""Provenance that differs between any two runs."""


@dataclass(frozen=True)
class RunComparison:
    """Differences of run `b` from run `a`.

    scores:   `KEYS`, `score`, `before`, `after`, `difference` (fractions), `p` (NaN where the images differ, or a
              run has no resamples or one seed), `n_before`, `n_after`; entries and scores that both have
    settings: `KEYS`, `setting`, `before`, `after` as text; the same for `versions` without entries
    only_a, only_b: entries (`KEYS`) that one run alone has
    states:   `KEYS`, `before`, `after`: status and reason where they changed
    """

    scores: pd.DataFrame
    settings: pd.DataFrame
    versions: pd.DataFrame
    states: pd.DataFrame
    only_a: list[tuple[str, ...]]
    only_b: list[tuple[str, ...]]


def compare_runs(a: StoredRuns, b: StoredRuns) -> RunComparison:
    """Compare entries by `KEYS`, reference rows included."""
    boards = leaderboard(a.records, a.runs), leaderboard(b.records, b.runs)
    entries = [{_key(row): row for row in as_rows(board)} for board in boards]
    both = [key for key in entries[0] if key in entries[1]]
    runs = [_first_runs(stored.runs) for stored in (a, b)]
    settings = [
        dict(zip(KEYS, key)) | change
        for key in both
        if key in runs[0] and key in runs[1]
        for change in _changes(runs[0][key]["settings"], runs[1][key]["settings"])
    ]
    states = [
        dict(zip(KEYS, key)) | {"before": before, "after": after}
        for key in both
        if (before := _state(entries[0][key])) != (after := _state(entries[1][key]))
    ]
    return RunComparison(
        _scores((a, b), entries, both),
        pd.DataFrame(settings, columns=[*KEYS, "setting", "before", "after"]),
        pd.DataFrame(_versions(a.runs, b.runs), columns=["setting", "before", "after"]),
        pd.DataFrame(states, columns=[*KEYS, "before", "after"]),
        [key for key in entries[0] if key not in entries[1]],
        [key for key in entries[1] if key not in entries[0]],
    )


def flatten(settings: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as "a.b.c" -> text."""
    if isinstance(settings, Mapping):
        parts = [flatten(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in settings.items()]
        return {key: value for part in parts for key, value in part.items()}
    return {prefix: str(settings)}


def _changes(before: Any, after: Any) -> list[dict[str, str]]:
    a, b = flatten(before), flatten(after)
    names = [*a, *(name for name in b if name not in a)]
    return [
        {"setting": name, "before": a.get(name, "–"), "after": b.get(name, "–")}
        for name in names
        if a.get(name) != b.get(name)
    ]


def _versions(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Provenance of all runs of a folder, one value or several a name."""
    found: list[dict[str, str]] = []
    for runs in (before, after):
        values: dict[str, dict[str, None]] = {}
        for run in runs:
            for name, value in flatten(run["provenance"]).items():
                if name not in _UNINFORMATIVE:
                    values.setdefault(name, {})[value] = None
        found.append({name: ", ".join(sorted(texts)) for name, texts in values.items()})
    return _changes(*found)


def _scores(
    runs: tuple[StoredRuns, StoredRuns],
    entries: Sequence[Mapping[tuple[str, ...], dict[str, Any]]],
    both: Sequence[tuple[str, ...]],
) -> pd.DataFrame:
    rows = []
    for score in SCORES:
        sampled = [
            {k: _miou(own) for k, own in sampled_entries(run, [of[key] for key in both], score)[0].items()}
            for run, of in zip(runs, entries)
        ]
        noise = seed_noise([*sampled[0].values(), *sampled[1].values()])
        for position, key in enumerate(both):
            before, after = (found[key] for found in entries)
            counts = [int(row[f"{score.name}_n"]) for row in (before, after)]
            if not all(counts):
                continue
            values = [float(row[f"{score.name}_mean"]) for row in (before, after)]
            p = _p(sampled[1].get(position), sampled[0].get(position), noise)
            rows.append(
                dict(zip(KEYS, key))
                | {"score": score.name, "before": values[0], "after": values[1]}
                | {"difference": values[1] - values[0], "p": p, "n_before": counts[0], "n_after": counts[1]}
            )
    columns = [*KEYS, "score", "before", "after", "difference", "p", "n_before", "n_after"]
    return pd.DataFrame(rows, columns=columns)


def _miou(entry: Sampled) -> Sampled:
    """Its mIoU alone: two runs may differ in their classes."""
    values, resamples = (
        {seed: of[..., :1] for seed, of in each.items()} for each in (entry.values, entry.resamples)
    )
    return Sampled(values, resamples, entry.images)


def _p(after: Sampled | None, before: Sampled | None, noise: Any) -> float:
    if after is None or before is None:
        return float("nan")
    found = compare(after, before, noise)
    return float("nan") if found is None else float(np.atleast_1d(found.p)[0])


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KEYS)


def _first_runs(runs: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        first.setdefault(_key(run), run)
    return first


def _state(row: Mapping[str, Any]) -> str:
    return f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])
