"""What the page's sections are made from: one leaderboard (data set, scale, protocol) and its entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from reports.text import entry_key, entry_label
from results.aggregate import KEYS, SCORES, Score, as_rows, board_name, varying, with_data
from results.changes import BOARD, data_changes
from results.complexity import complexity_table, read_profiles
from results.costs import costs
from results.io import StoredRuns
from results.significance import Significance


@dataclass(frozen=True)
class LeaderboardEntry:
    """One row of a leaderboard.

    key:    its `KEYS`
    label:  its title, with refiner and segmenter where these tell entries apart
    row:    its row of the leaderboard
    runs:  what happened to it, the lowest seed first; none for a reference row
    series: its colour and dash in every chart of the page
    """

    key: tuple[str, ...]
    label: str
    row: dict[str, Any]
    runs: tuple[dict[str, Any], ...]
    series: int

    @property
    def is_reference(self) -> bool:
        return bool(self.row["status"] == "reference")

    def value(self, score: Score) -> float:
        """Mean of a score over seeds, a fraction; NaN where there is none."""
        return float(self.row[f"{score.name}_mean"])


@dataclass(frozen=True)
class Board:
    """The entries of one leaderboard, and the records they come from.

    id:      prefix of the ids of its page elements
    table:   its part of the leaderboard
    records: its part of the run's records
    path:    the run folder
    places:  score name -> entry's key -> place among those that it differs from significantly; a score that was not
             tested is missing
    profiles: its part of the `complexity_table` of the profiles beside the run
    costs:   its part of `results.costs`
    """

    id: str
    dataset: str
    scale: str
    protocol: str
    table: pd.DataFrame
    records: pd.DataFrame
    runs: Sequence[dict[str, Any]]
    path: Path
    places: Mapping[str, Mapping[tuple[str, ...], int]] = field(default_factory=dict)
    profiles: pd.DataFrame = field(default_factory=lambda: complexity_table([]))
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)

    @cached_property
    def name(self) -> str:
        """What its data are called; `dataset` is their name in the registry."""
        return board_name(self.table)

    @cached_property
    def extra(self) -> list[str]:
        """Columns in which its entries differ, beside the method."""
        return varying(self.table)

    @cached_property
    def entries(self) -> tuple[LeaderboardEntry, ...]:
        """In the order of the leaderboard."""
        runs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for run in sorted(self.runs, key=lambda c: c["seed"]):
            runs.setdefault(entry_key(run), []).append(run)
        return tuple(
            LeaderboardEntry(
                key := entry_key(row), entry_label(row, self.extra), row, tuple(runs.get(key, ())), series
            )
            for series, row in enumerate(as_rows(self.table))
        )

    @cached_property
    def methods(self) -> tuple[LeaderboardEntry, ...]:
        """The entries that are no reference rows."""
        return tuple(entry for entry in self.entries if not entry.is_reference)

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """The columns in which anything was scored."""
        return tuple(score for score in SCORES if (self.table[f"{score.name}_n"] > 0).any())

    def of_each(self, table: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
        """The rows of each entry of a table that has `KEYS` as columns."""
        groups: Any = table.groupby(KEYS, sort=False)
        return {tuple(key): rows for key, rows in groups}


def boards(stored: StoredRuns, table: pd.DataFrame, found: Significance | None = None) -> Iterator[Board]:
    """The leaderboards of a run; `table` is its `leaderboard`."""
    places: dict[tuple[str, ...], dict[str, dict[tuple[str, ...], int]]] = {}
    if found is not None:
        standings = found.standings
        for row in as_rows(with_data(standings[(standings["class_name"] == "") & (standings["rank"] > 0)])):
            of_board = places.setdefault(tuple(row[key] for key in BOARD), {})
            of_board.setdefault(row["score"], {})[entry_key(row)] = int(row["rank"])
    records = dict(iter(with_data(stored.records).groupby(BOARD, sort=False)))
    profiles = complexity_table(read_profiles(stored.path))
    cost = costs(stored, profiles)
    runs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in stored.runs:
        data = data_changes(run["changes"], run["dataset"])
        runs.setdefault((run["dataset"], run["scale"], run["protocol"], data), []).append(run)
    groups: Any = table.groupby(BOARD, sort=False)
    for number, (identity, part) in enumerate(groups):
        dataset, scale, protocol, _ = identity
        here = records.get(identity, stored.records.iloc[:0])
        of_board = places.get(identity, {})
        profiled, cost_here = (
            t[(with_data(t)[BOARD] == list(identity)).all(axis=1)] for t in (profiles, cost)
        )
        own, id_ = runs.get(identity, []), f"board-{number}"
        yield Board(
            id_, dataset, scale, protocol, part, here, own, stored.path, of_board, profiled, cost_here
        )
