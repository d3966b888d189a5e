"""What a mean over seeds is sure of: intervals, tests of differences, Holm's correction, groups of equals.

The variance of a mean over seeds has two parts: that over images, by the bootstrap (`results.resamples`; the resamples
are the same for all entries, so differences are paired), and that over seeds. Each entry has its own two parts: its
noise from seed to seed can be five times another entry's, and one pooled variance would make the intervals of the noisy
entries too narrow. Seeds are few, so their variance has few degrees of freedom. Satterthwaite's approximation adds the
two parts up before it looks for a quantile, and is too narrow wherever the seeds happen to agree. The quantile here is
the mean of the normal quantile, weighted by the variance over images, and of Student's t, weighted by that over seeds
(Cochran and Cox, Experimental Designs, 1950, sec. 4.14). In a difference, the variances over seeds of the two entries are
added up, with Welch's degrees of freedom (Welch 1947); before, each is shrunk a little towards that of the whole
leaderboard (`PRIOR`). An entry of one seed has an interval over images alone and is not tested.

`scripts/simulate_statistics.py` measures how often intervals cover the truth and equals are told apart.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.special

LEVEL = 0.05
"""Family-wise error of the tests of one score over the pairs of a leaderboard."""
PRIOR = 0.5
"""Weight of the pooled variance in degrees of freedom; an entry's own variance has n - 1, so a weight of 2/3, 4/5 and 8/9
at 2, 3 and 5 seeds (the posterior variance of Smyth 2004, eq. 1, with d0 fixed: a dozen entries cannot estimate it).
In simulations of a method with five times the others' noise and two or three seeds, intervals cover the truth in 87 % to
94 % with this value, and in 82 % to 89 % with twice as much. With 0, two seeds lose most of their power."""
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
        """Shrunk towards a pooled variance, of which this one is a part; unchanged where either is unknown.

        The pooled one weighs `PRIOR` degrees of freedom. The sum has no more degrees of freedom than the pooled one.
        """
        known = (self.freedom > 0) & (pooled.freedom > 0)
        variance = (self.freedom * self.variance + PRIOR * pooled.variance) / (self.freedom + PRIOR)
        freedom = np.where(known, np.minimum(self.freedom + PRIOR, pooled.freedom), self.freedom)
        return SeedNoise(np.where(known, variance, self.variance), freedom)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds or a difference of such means, each field (M,).

    low, high: the 95 % interval, over the images alone where n is 1
    p:         two-sided, of the hypothesis that it is 0; NaN where n is 1, as the noise of the seeds is unknown
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
    """Variance over resamples, (B, M) -> (M,); a class may be missing in some of them, or in all."""
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
class Resolution:
    """What the tests of a leaderboard's mIoU can tell apart, for its median pair.

    difference: the smallest true difference, a fraction, that is found with 80 % power when Holm tests it first
    seeds:      how many seeds a method would need to find one of a point (.01); 0: no number is enough, with so few
                images
    pairs, n:   number of tests, and of seeds
    """

    difference: float
    seeds: int
    pairs: int
    n: int


POINT, POWER = 0.01, 0.8
_MOST_SEEDS = 1000


def resolution(tested: Sequence[Estimate]) -> Resolution | None:
    """What the differences of a leaderboard resolve in mIoU, their first score; None where none was tested.

    A two-sided test at Holm's first level finds a difference with probability `POWER` if it is the standard error times
    the sum of two quantiles: the test's critical value and that of `POWER` (Cohen, Statistical Power Analysis, 1988,
    with t in place of the normal).
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
    """(K, M) bool: whether no other of K entries is significantly better; one that could not be compared is not.

    The best entry is wrongly left out only if one of the K - 1 others beats it by chance. So K - 1 one-sided tests are
    corrected for, each at `LEVEL` / (K - 1): multiple comparisons with the best (Hsu 1984, Annals of Statistics 12:
    1136), by Bonferroni's inequality since the variances differ.
    """
    found = np.array([~np.isnan(mean) for mean in means])
    for (i, j), difference in tested.items() if len(means) else ():
        beaten = difference.p / 2 * (len(means) - 1) < LEVEL
        found[i] &= ~(beaten & (difference.mean < 0))
        found[j] &= ~(beaten & (difference.mean > 0))
    return found
