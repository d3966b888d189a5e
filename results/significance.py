"""Which differences on a leaderboard are more than chance: intervals, Holm-corrected pairs, groups of equals.

The variance of a mean over seeds has two parts: that over images, by the bootstrap (`results.resamples`; the resamples
are the same for all entries, so differences are paired), and that over seeds. Both are of every entry's own: entries
differ in their noise from seed to seed, up to fivefold, so that one pooled variance makes the intervals of the noisier
ones too narrow. Seeds are few, so that their variance has few degrees of freedom, and Satterthwaite's approximation,
which adds the two parts up before it looks for a quantile, is too narrow wherever the seeds happen to agree. The
quantile is Cochran's weighted mean instead: of the normal one and of Student's t, by the variances that each stands for
(Cochran and Cox, Experimental Designs, 1950, sec. 4.14). In a difference the seeds of both entries are one part, with
Welch's degrees of freedom (Welch 1947), and their variances are shrunk a little towards that of the leaderboard, see
`PRIOR`. What has one seed has an interval over images alone and is not tested.

`scripts/simulate_statistics.py` measures how often intervals cover the truth and equals are told apart.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from results.aggregate import KEYS, REFERENCE, SCORES, Score, as_rows, with_data
from results.changes import data_changes
from results.io import StoredRuns
from results.resamples import load_resamples, resamples_path

LEVEL = 0.05
"""Family-wise error of the tests of one score over the pairs of a leaderboard."""
PRIOR = 0.5
"""Degrees of freedom that a pooled variance counts for beside one's own n - 1, which so has a weight of 2/3, 4/5 and 8/9
at 2, 3 and 5 seeds (the posterior variance of Smyth 2004, eq. 1, with d0 fixed: a dozen entries cannot estimate it).
Simulated, twice as much lets the intervals of a method whose noise is five times the others' cover the truth in 82 % to
89 % with two or three seeds, this much in 87 % to 94 %; none at all costs most of the power that two seeds have."""
IMAGES_ONLY, IMAGES_AND_SEEDS = "images only", "images and seeds"
"""What the interval of a score is over."""


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

    @cached_property
    def noise(self) -> SeedNoise:
        """Of its own seeds alone."""
        return seed_noise([self])


@dataclass(frozen=True)
class SeedNoise:
    """Variance of one training's scores from seed to seed and its degrees of freedom, 0 if unknown; (M,) each."""

    variance: np.ndarray
    freedom: np.ndarray

    def shrunk(self, pooled: SeedNoise) -> SeedNoise:
        """Towards a pooled variance (its own is in it), which counts for `PRIOR` degrees of freedom, but together for
        no more than the pool has; as it is where either is unknown."""
        known = (self.freedom > 0) & (pooled.freedom > 0)
        variance = (self.freedom * self.variance + PRIOR * pooled.variance) / (self.freedom + PRIOR)
        freedom = np.where(known, np.minimum(self.freedom + PRIOR, pooled.freedom), self.freedom)
        return SeedNoise(np.where(known, variance, self.variance), freedom)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds or a difference of such means, each field (M,).

    low, high: the 95 % interval, over the images alone where n is 1
    p:         two-sided, of being 0; NaN where n is 1, as nothing is known of the seeds
    images, seeds, freedom: the parts of its variance, and the degrees of freedom of the second
    n:         number of seeds, of two entries the smaller one
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    images: np.ndarray
    seeds: np.ndarray
    freedom: np.ndarray
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


def score_of(entry: Sampled) -> Estimate:
    """An entry's mean over its seeds, by its own noise."""
    seeds = len(entry.values)
    images = image_variance(entry.mean_resamples)
    return estimate(entry.mean, images, entry.noise.variance / seeds, entry.noise.freedom, seeds)


def compare(a: Sampled, b: Sampled, noise: SeedNoise) -> Estimate | None:
    """The difference a - b; None where the two were scored on different images. noise: that of their leaderboard."""
    if a.images != b.images:
        return None
    parts = [(len(entry.values), entry.noise.shrunk(noise)) for entry in (a, b)]
    shares = [own.variance / seeds for seeds, own in parts]
    seeds = shares[0] + shares[1]
    with np.errstate(divide="ignore", invalid="ignore"):  # Welch's; without variance it has no part
        squares = sum(share**2 / own.freedom for share, (_, own) in zip(shares, parts))
        freedom = np.where(seeds > 0, seeds**2 / squares, np.inf)
    images = image_variance(a.mean_resamples - b.mean_resamples)
    return estimate(a.mean - b.mean, images, seeds, freedom, min(seeds for seeds, _ in parts))


def image_variance(resamples: np.ndarray) -> np.ndarray:
    """Over resamples (B, M), (M,); a class may be missing in some of them, or in all."""
    images = resamples.var(axis=0, ddof=1)
    holes = np.isnan(images)
    if holes.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            images[holes] = np.nanvar(resamples[:, holes], axis=0, ddof=1)
    return images  # type: ignore[no-any-return]


def estimate(
    mean: np.ndarray, images: np.ndarray, seeds: np.ndarray, freedom: np.ndarray, n: int
) -> Estimate:
    """Interval and p of a mean from the parts of its variance, (M,) each: over images, and over n seeds with their
    degrees of freedom. Of one seed the interval is over the images alone, and nothing is tested."""
    if n < 2:
        margin = quantile(LEVEL, images, np.zeros_like(images), np.ones_like(images)) * np.sqrt(images)
        unknown = np.full_like(images, np.nan)
        return Estimate(mean, mean - margin, mean + margin, unknown, images, unknown, unknown * 0, n)
    error = np.sqrt(images + seeds)
    margin = quantile(LEVEL, images, seeds, freedom) * error
    return Estimate(mean, mean - margin, mean + margin, p_value(mean, images, seeds, freedom), images, seeds,
                    freedom, n)  # fmt: skip


def quantile(level: Any, images: np.ndarray, seeds: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Two-sided critical value of a mean over its standard error: the normal quantile and that of Student's t, weighted
    by the variances over images and over seeds. level: the error, a number or an array of their shape."""
    share = np.divide(seeds, images + seeds, out=np.zeros_like(seeds), where=images + seeds > 0)
    student = np.where(share > 0, -scipy.special.stdtrit(np.where(share > 0, freedom, 1.0), level / 2), 0)
    return -(1 - share) * scipy.special.ndtri(level / 2) + share * student  # type: ignore[no-any-return]


def p_value(mean: np.ndarray, images: np.ndarray, seeds: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The level at which the interval just holds 0, (M,).

    It is sought, by halving, between those that the normal distribution and Student's t alone would give.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(mean) / np.sqrt(images + seeds)
    ratio = np.where(mean == 0, 0.0, ratio)
    known = ~np.isnan(ratio + seeds)
    own = np.where(known & (seeds > 0), freedom, np.inf)
    low = 2 * scipy.special.ndtr(-ratio)
    high = 2 * scipy.special.stdtr(np.minimum(own, 1e9), -ratio)
    low, high = np.maximum(np.minimum(low, high), 1e-15), np.maximum(np.maximum(low, high), 1e-15)
    for _ in range(_HALVINGS if known.any() else 0):
        middle = np.sqrt(low * high)
        rejected = ratio > quantile(middle, images, seeds, own)
        low, high = np.where(rejected, low, middle), np.where(rejected, middle, high)
    return np.where(known, high, np.nan)


_HALVINGS = 30


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
    """Where the entries of all leaderboards of a run stand.

    standings: `KEYS`, `score`, `class_name` ("" for the mIoU), mean, low, high, `interval` (what it is over), n, group,
               rank, `maybe_best`. Group 1 holds the best entry and those that do not differ from it significantly, 2
               the best of the rest and its equals, and so on; a group's entries share a rank. Entries that use masks do
               not compete, those of one seed are not tested: 0. `maybe_best`: whether no entry is significantly better
               when only that is asked (`maybe_best`), so that with 95 % confidence the best is among them
    pairs:     `KEYS[:3]`, `score`, `class_name`, `a` and `b` (each a tuple of `KEYS`), difference a - b, low,
               high, p, p_holm (adjusted over the pairs of a leaderboard, for one score and class), n
    resolution: `KEYS[:3]`, `data`, `score`, and what a leaderboard's tests of the mIoU can tell apart (`Resolution`)
    baseline:  the method that all pairs have in common, "" where all pairs were tested

    They lack what the run folder holds no resamples of.
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
    for _, part in with_data(board).groupby([*KEYS[:3], "data"], sort=False):
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
                where = dict(zip(KEYS[:3], keys[0])) | {"data": part["data"].iloc[0], "score": score.name}
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
        pd.DataFrame(
            resolutions, columns=[*KEYS[:3], "data", "score", *(f.name for f in fields(Resolution))]
        ),
        baseline,
    )


@dataclass(frozen=True)
class Resolution:
    """What the tests of a leaderboard's mIoU can tell apart, for its median pair.

    difference: the smallest true one, a fraction, that is found with 80 % power when it is the first that Holm tests
    seeds:      how many seeds a method would need for one of a point (.01); 0: no number is enough, as the images limit
    pairs, n:   number of tests, and of seeds
    """

    difference: float
    seeds: int
    pairs: int
    n: int


POINT, POWER = 0.01, 0.8
_MOST_SEEDS = 1000


def resolution(tested: Sequence[Estimate]) -> Resolution | None:
    """Of a leaderboard's differences, by their first score, the mIoU; None where none was tested.

    The power of a two-sided test at the level that Holm begins with: its critical value plus the quantile that leaves
    the power, times the standard error (Cohen, Statistical Power Analysis, 1988, with t in place of the normal).
    """
    if not tested:
        return None
    level = LEVEL / len(tested)
    n = min(found.n for found in tested)
    images = np.array([found.images[0] for found in tested])
    seeds = np.array([found.seeds[0] for found in tested])
    freedom = np.array([found.freedom[0] for found in tested])

    def least(number: int) -> float:
        """With so many seeds."""
        of_seeds, grown = seeds * n / number, freedom * (number - 1 + PRIOR) / (n - 1 + PRIOR)
        critical = sum(quantile(error, images, of_seeds, grown) for error in (level, 2 * (1 - POWER)))
        return float(np.median(critical * np.sqrt(images + of_seeds)))

    enough = bisect_left(range(2, _MOST_SEEDS + 1), True, key=lambda number: least(number) <= POINT) + 2
    return Resolution(least(n), enough if enough <= _MOST_SEEDS else 0, len(tested), n)


def maybe_best(means: Sequence[np.ndarray], tested: Mapping[tuple[int, int], Estimate]) -> np.ndarray:
    """(K, M) bool: whether no other of K entries is significantly better; where it could not be compared, none is.

    The best entry is left out wrongly only if one of the K - 1 others beats it by chance, so that of the pairs those
    K - 1 tests count, one-sided, each at `LEVEL` / (K - 1): multiple comparisons with the best (Hsu 1984, Annals of
    Statistics 12: 1136), by Bonferroni's inequality as variances are unlike.
    """
    found = np.array([~np.isnan(mean) for mean in means])
    for (i, j), difference in tested.items() if len(means) else ():
        beaten = difference.p / 2 * (len(means) - 1) < LEVEL
        found[i] &= ~(beaten & (difference.mean < 0))
        found[j] &= ~(beaten & (difference.mean > 0))
    return found


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
