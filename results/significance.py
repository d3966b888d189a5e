"""Which differences on a board are more than chance: intervals, Holm-corrected pairs, groups of equals.

The variance of a mean is taken to be that over images, by the bootstrap (`results.resamples`; the resamples are
the same for all entries, so differences are paired), plus that over seeds. Seeds are few, so their variance is
pooled over the entries of a board, as in an analysis of variance, and the reference is Student's t with
Satterthwaite's degrees of freedom. Where every entry has one seed, tests speak of the images only.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from results.aggregate import KEYS, REFERENCE, SCORES, Score, as_rows, with_data
from results.changes import data_changes
from results.io import Run
from results.resamples import load_resamples, resamples_path

LEVEL = 0.05
"""Family-wise error of the tests of one score over the pairs of a board."""


@dataclass(frozen=True)
class Sampled:
    """An entry's scores: by seed, M values and their B resamples (the mIoU first, then the classes).

    values:    seed -> (M,); NaN for a class that does not occur
    resamples: seed -> (B, M)
    images:    fingerprint of the scored images
    """

    values: Mapping[int, np.ndarray]
    resamples: Mapping[int, np.ndarray]
    images: str

    @cached_property
    def mean(self) -> np.ndarray:
        """(M,), over seeds."""
        return np.mean(list(self.values.values()), axis=0)  # type: ignore[no-any-return]

    @cached_property
    def mean_resamples(self) -> np.ndarray:
        """(B, M), over seeds."""
        return np.mean(list(self.resamples.values()), axis=0)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class SeedNoise:
    """Variance of one training's scores from seed to seed and its degrees of freedom, 0 if unknown; (M,) each."""

    variance: np.ndarray
    freedom: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds or a difference of such means, each field (M,).

    low, high: the 95 % interval; p: two-sided, of being 0; n: number of seeds, of two entries the smaller one
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    n: int


def seed_noise(entries: Sequence[Sampled]) -> SeedNoise:
    """Sample variance over seeds (ddof 1), pooled over entries by their degrees of freedom, each of the M by itself:
    seeds without a class (NaN) have no part in its variance."""
    squares, freedom = np.zeros(1), np.zeros(1, int)
    for entry in entries:
        values = np.stack(list(entry.values.values()))
        seeds = np.sum(~np.isnan(values), axis=0)
        mean = np.nansum(values, axis=0) / np.maximum(seeds, 1)
        squares = squares + np.nansum((values - mean) ** 2, axis=0)
        freedom = freedom + np.maximum(seeds - 1, 0)
    return SeedNoise(squares / np.maximum(freedom, 1), freedom)


def score_of(entry: Sampled, noise: SeedNoise) -> Estimate:
    """An entry's mean over its seeds."""
    seeds = len(entry.values)
    return _estimate(entry.mean, entry.mean_resamples, noise, 1 / seeds, seeds)


def compare(a: Sampled, b: Sampled, noise: SeedNoise) -> Estimate | None:
    """The difference a - b; None where the two were scored on different images."""
    if a.images != b.images:
        return None
    seeds = len(a.values), len(b.values)
    shares = 1 / seeds[0] + 1 / seeds[1]
    return _estimate(a.mean - b.mean, a.mean_resamples - b.mean_resamples, noise, shares, min(seeds))


def _estimate(mean: np.ndarray, resamples: np.ndarray, noise: SeedNoise, shares: float, n: int) -> Estimate:
    """mean: (M,); resamples: (B, M) of it; shares: sum of 1 / seeds over the means it is made of."""
    images = resamples.var(axis=0, ddof=1)
    holes = np.isnan(images)
    if holes.any():
        with warnings.catch_warnings():  # a class may be missing in some resamples, or in all
            warnings.simplefilter("ignore", RuntimeWarning)
            images[holes] = np.nanvar(resamples[:, holes], axis=0, ddof=1)
    seeds = noise.variance * shares
    variance = images + seeds
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(seeds > 0, noise.freedom * (variance / seeds) ** 2, np.inf)
        error = np.sqrt(variance)
        p = np.where(mean == 0, 1.0, 2 * scipy.stats.t.sf(np.abs(mean) / error, freedom))
    margin = scipy.stats.t.ppf(1 - LEVEL / 2, freedom) * error
    return Estimate(mean, mean - margin, mean + margin, np.where(np.isnan(mean), np.nan, p), n)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment over the last axis, (..., m); NaN stays and counts as no test."""
    order = np.argsort(p, axis=-1)  # NaN last
    tests = np.sum(~np.isnan(p), axis=-1, keepdims=True)
    factors = tests - np.arange(p.shape[-1])
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, -1) * factors, axis=-1)
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), axis=-1)
    return adjusted


def group_equals(means: np.ndarray, p: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Groups of entries by one score, 1 the best: the best one left and all that do not differ from it.

    means: (K,), NaN: not scored; p: (K, K) adjusted, symmetric, NaN where two could not be compared and so are
    not told apart. returns: (K,) int, 0 for entries without a score
    """
    groups = np.zeros(len(means), int)
    left = [int(k) for k in np.argsort(-means, kind="stable") if not np.isnan(means[k])]
    number = 0
    while left:
        number += 1
        best = left[0]
        equal = [k for k in left if k == best or not p[best, k] < level]
        groups[equal] = number
        left = [k for k in left if k not in equal]
    return groups


@dataclass(frozen=True)
class Significance:
    """Where the entries of all boards of a run stand.

    standings: `KEYS`, `score`, `class_name` ("" for the mIoU), mean, low, high, n, group, rank. Group 1 holds the
               best entry and those that do not differ from it significantly, 2 the best of the rest and its
               equals, and so on; a group's entries share a rank. Entries that use masks do not compete: 0
    pairs:     `KEYS[:3]`, `score`, `class_name`, `a` and `b` (each a tuple of `KEYS`), difference a - b, low,
               high, p, p_holm (adjusted over the pairs of a board, for one score and class), n

    Both lack what the run folder holds no resamples of.
    """

    standings: pd.DataFrame
    pairs: pd.DataFrame


def significance(run: Run, board: pd.DataFrame) -> Significance:
    """Compare the entries of a run's leaderboard, board by board and score by score, where their data are the same."""
    standings, pairs = [], []
    for _, part in with_data(board).groupby([*KEYS[:3], "data"], sort=False):
        entries = as_rows(part[~part["method"].str.startswith(REFERENCE)])
        for score in SCORES:
            sampled, names = sampled_entries(run, entries, score)
            if not sampled:
                continue
            competing = [k for k in sampled if not entries[k]["mask_supervised"]]
            noise = seed_noise(list(sampled.values()))
            tested, p = _test_pairs([sampled[k] for k in competing], noise, len(names))
            keys = [entry_of(entries[k]) for k in competing]
            for (i, j), difference in tested.items():
                table = _frame(difference).assign(p=difference.p, p_holm=p[i, j], class_name=names)
                table = table.assign(a=pd.Series([keys[i]] * len(table)), b=pd.Series([keys[j]] * len(table)))
                table[[*KEYS[:3], "score"]] = [*keys[i][:3], score.name]
                pairs.append(table)
            scores = {k: score_of(entry, noise) for k, entry in sampled.items()}
            standings += _standings(entries, scores, competing, p, names, score.name)
    return Significance(
        _concatenated(standings, [*KEYS, "score", "class_name", *_ESTIMATE, "group", "rank"]),
        _concatenated(pairs, [*KEYS[:3], "score", "class_name", "a", "b", *_ESTIMATE, "p", "p_holm"]).rename(
            columns={"mean": "difference"}
        ),
    )


def entry_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in KEYS)


def _test_pairs(
    sampled: Sequence[Sampled], noise: SeedNoise, columns: int
) -> tuple[dict[tuple[int, int], Estimate], np.ndarray]:
    """Differences of all pairs that can be compared, and adjusted p (K, K, M), NaN elsewhere."""
    numbers = range(len(sampled))
    compared = {(i, j): compare(sampled[i], sampled[j], noise) for i, j in combinations(numbers, 2)}
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
            group=groups[k],
            rank=ranks[k],
        )
        for k in own
    ]


_ESTIMATE = ["mean", "low", "high", "n"]


def _frame(found: Estimate) -> pd.DataFrame:
    return pd.DataFrame({"mean": found.mean, "low": found.low, "high": found.high, "n": found.n})


def _concatenated(tables: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def sampled_entries(
    run: Run, entries: Sequence[Mapping[str, Any]], score: Score
) -> tuple[dict[int, Sampled], list[str]]:
    """Scores and resamples by the position in `entries`, and what their columns are: "" and the classes' names.

    Entries without resamples in the run folder are left out, and seeds of an entry that were scored on other
    images than its first.
    """
    records = run.records[
        (run.records["stage"] == score.stage)
        & (run.records["variant"] == score.variant)
        & (run.records["split"] == score.split)
        & run.records["metric"].isin(["miou", "iou"])
    ]
    by_entry = dict(list(records.groupby(KEYS, sort=False)))
    sampled: dict[int, Sampled] = {}
    labels: tuple[str, ...] = ()
    for position, entry in enumerate(entries):
        own = by_entry.get(tuple(entry[key] for key in KEYS))
        values: dict[int, np.ndarray] = {}
        resamples: dict[int, np.ndarray] = {}
        images, data = "", data_changes(entry["changes"], entry["dataset"])
        for _, rows in [] if own is None else own.groupby("seed", sort=True):
            found = load_resamples(resamples_path(run.path, rows["key"].iloc[0], score.variant, data))
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
