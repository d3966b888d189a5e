"""Which differences on a leaderboard are more than chance: intervals, Holm-corrected pairs, groups of equals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from results.aggregate import KEYS, REFERENCE, SCORES, Score, as_rows
from results.changes import BOARD, data_changes
from results.intervals import (
    IMAGES_AND_SEEDS,
    IMAGES_ONLY,
    Estimate,
    Resolution,
    Sampled,
    compare,
    group_equals,
    holm,
    maybe_best,
    resolution,
    score_of,
    seed_noise,
)
from results.io import StoredRuns
from results.resamples import load_resamples, resamples_path


@dataclass(frozen=True)
class Significance:
    """Where the entries of all leaderboards of a run stand.

    standings: `KEYS`, `score`, `class_name` ("" for the mIoU), mean, low, high, `interval` (what it is over), n, group,
               rank, `maybe_best`. Group 1 holds the best entry and those that do not differ from it significantly, 2
               the best of the rest and its equals, and so on; a group's entries share a rank. 0: not
               ranked, as it uses masks or has one seed. `maybe_best`: whether no entry is significantly better
               when only that is asked (`maybe_best`), so that with 95 % confidence the best is among them
    pairs:     `KEYS[:3]`, `score`, `class_name`, `a` and `b` (each a tuple of `KEYS`), difference a - b, low,
               high, p, p_holm (adjusted over the pairs of a leaderboard, for one score and class), n
    resolution: `BOARD`, `score`, and what a leaderboard's tests of the mIoU can tell apart (`Resolution`)
    baseline:  the method that all pairs have in common, "" where all pairs were tested

    Entries without resamples in the run folder are missing.
    """

    standings: pd.DataFrame
    pairs: pd.DataFrame
    resolution: pd.DataFrame
    baseline: str = ""


def significance(stored: StoredRuns, board: pd.DataFrame, baseline: str = "") -> Significance:
    """Compare the entries of a run's leaderboards, one by one and score by score, where their data are the same.

    baseline: name of a method; only the pairs with its entries are tested then, which corrects for fewer tests, and
    there are no groups
    """
    standings, pairs, resolutions = [], [], []
    for _, part in board.groupby(BOARD, sort=False):
        entries = as_rows(part[~part["method"].str.startswith(REFERENCE)])
        for score in SCORES:
            sampled, names = sampled_entries(stored, entries, score)
            if not sampled:
                continue
            competing = [
                k for k, own in sampled.items() if len(own.values) > 1 and not entries[k]["mask_supervised"]
            ]
            keys = [entry_of(entries[k]) for k in competing]
            chosen = [
                (i, j)
                for i, j in combinations(range(len(competing)), 2)
                if not baseline
                or baseline in (entries[competing[i]]["method"], entries[competing[j]]["method"])
            ]
            tested, p = _test_pairs([sampled[k] for k in competing], chosen, len(names))
            for (i, j), difference in tested.items():
                table = _frame(difference).assign(p=difference.p, p_holm=p[i, j], class_name=names)
                table = table.assign(a=pd.Series([keys[i]] * len(table)), b=pd.Series([keys[j]] * len(table)))
                table[[*KEYS[:3], "score"]] = [*keys[i][:3], score.name]
                pairs.append(table)
            if (found := resolution(list(tested.values()))) is not None:
                where = {key: part[key].iloc[0] for key in BOARD} | {"score": score.name}
                resolutions.append(where | asdict(found))
            scores = {k: score_of(entry) for k, entry in sampled.items()}
            ranked = [] if baseline else competing
            leads = maybe_best([scores[k].mean for k in ranked], tested)
            standings += _standings(entries, scores, ranked, p, leads, names, score.name)
    return Significance(
        _concatenated(
            standings,
            [*KEYS, "score", "class_name", *_ESTIMATE, "interval", "group", "rank", "maybe_best"],
        ),
        _concatenated(pairs, [*KEYS[:3], "score", "class_name", "a", "b", *_ESTIMATE, "p", "p_holm"]).rename(
            columns={"mean": "difference"}
        ),
        pd.DataFrame(resolutions, columns=[*BOARD, "score", *(f.name for f in fields(Resolution))]),
        baseline,
    )


def entry_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KEYS)


def _test_pairs(
    sampled: Sequence[Sampled], chosen: Sequence[tuple[int, int]], columns: int
) -> tuple[dict[tuple[int, int], Estimate], np.ndarray]:
    """Differences of those chosen pairs that can be compared, and adjusted p (K, K, M), NaN elsewhere."""
    noise = seed_noise(sampled)
    compared = {(i, j): compare(sampled[i], sampled[j], noise) for i, j in chosen}
    tested = {pair: difference for pair, difference in compared.items() if difference is not None}
    p = np.full((len(sampled), len(sampled), columns), np.nan)
    if tested:
        adjusted = holm(np.stack([difference.p for difference in tested.values()], axis=-1))
        for number, (i, j) in enumerate(tested):
            p[i, j] = p[j, i] = adjusted[:, number]
    return tested, p


def _standings(
    entries: Sequence[Mapping[str, Any]],
    own: Mapping[int, Estimate],
    competing: Sequence[int],
    p: np.ndarray,
    leads: np.ndarray,
    names: Sequence[str],
    score: str,
) -> list[pd.DataFrame]:
    groups = {k: np.zeros(len(names), int) for k in own}
    ranks = {k: np.zeros(len(names), int) for k in own}
    for column in range(len(names)):
        found = group_equals(np.array([own[k].mean[column] for k in competing]), p[..., column])
        for k, group in zip(competing, found):
            groups[k][column] = group
            ranks[k][column] = 1 + int(np.sum((found > 0) & (found < group))) if group else 0
    return [
        _frame(own[k]).assign(
            **{key: entries[k][key] for key in KEYS},
            score=score,
            class_name=names,
            interval=IMAGES_AND_SEEDS if own[k].n > 1 else IMAGES_ONLY,
            group=groups[k],
            rank=ranks[k],
            maybe_best=leads[competing.index(k)] if k in competing else False,
        )
        for k in own
    ]


_ESTIMATE = ["mean", "low", "high", "n"]


def _frame(found: Estimate) -> pd.DataFrame:
    return pd.DataFrame({"mean": found.mean, "low": found.low, "high": found.high, "n": found.n})


def _concatenated(tables: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def sampled_entries(
    stored: StoredRuns, entries: Sequence[Mapping[str, Any]], score: Score
) -> tuple[dict[int, Sampled], list[str]]:
    """Scores and resamples by the position in `entries`, and what their columns are: "" and the classes' names.

    Entries without resamples in the run folder are left out, and seeds of an entry that were scored on other
    images than its first.
    """
    records = stored.records[
        (stored.records["stage"] == score.stage)
        & (stored.records["variant"] == score.variant)
        & (stored.records["split"] == score.split)
        & stored.records["metric"].isin(["miou", "iou"])
    ]
    of_each = dict(list(records.groupby(KEYS, sort=False)))
    sampled: dict[int, Sampled] = {}
    labels: tuple[str, ...] = ()
    for position, entry in enumerate(entries):
        own = of_each.get(tuple(entry[key] for key in KEYS))
        values: dict[int, np.ndarray] = {}
        resamples: dict[int, np.ndarray] = {}
        images, data = "", data_changes(entry["changes"], entry["dataset"])
        for _, rows in [] if own is None else own.groupby("seed", sort=True):
            found = load_resamples(resamples_path(stored.path, rows["key"].iloc[0], score.variant, data))
            if found is None or found.images != (images or found.images):
                continue
            if found.labels != (labels or found.labels):
                continue
            images, labels = found.images, found.labels
            seed = int(rows["seed"].iloc[0])
            values[seed] = _values(rows, labels)
            resamples[seed] = np.column_stack([found.miou, found.iou])
        if values:
            sampled[position] = Sampled(values, resamples, images)
    return sampled, ["", *labels]


def _values(rows: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """mIoU, then IoU by class, of one seed's records."""
    miou = rows.loc[rows["metric"] == "miou", "value"].iloc[0]
    iou = rows[rows["metric"] == "iou"].set_index("class_name")["value"]
    return np.array([miou, *iou.reindex(list(labels))], np.float64)
