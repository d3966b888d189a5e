"""Which numbers differ by more than rounding: tight tolerances for tier 1, each seed's measured spread for tier 2."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.check.reference import Run, Values
from benchmark.failures import ConfigError

TIGHT = {"miou": 0.001, "pixel_accuracy": 0.001, "threshold": 0.0101}
"""Tier 1's tolerances by metric. Other threads, libraries and processors flip single pixels, which means more to one
class than to the mean over classes; and two thresholds beside each other may be all but equally good."""
TIGHT_OTHERS = 0.005
"""Of the other metrics; where a number exceeds 1 (a ratio, a count), as a share of it."""
FACTOR = 4.0
"""Times the SD within a seed. The SD is of few runs, and some hundred numbers are compared at once."""
SEED_FACTOR = 2.8
"""Times the reproducibility SD: what two single runs differ by in 95 of 100 cases (ISO 5725-6)."""
RELATIVE_FLOOR = 0.01
"""Of tier 2, as a share of the number: rounding that a short training has not spread yet has an SD of nearly 0."""
WEIGHTS_TIER = 1
"""The tier whose numbers are of recorded weights."""
SPREAD_TIER = 2
"""The tier whose numbers depend on the seed."""


@dataclass(frozen=True)
class Difference:
    """A number beside the recorded one; None where one side does not have it.

    reference: the recorded number, the mean where there are several runs
    tolerance: half-width of what passes
    runs:      number of recorded runs
    by_seed:   half-width of what another seed's run may differ by; 0 where it is not known
    """

    name: str
    reference: float | None
    value: float | None
    tolerance: float
    runs: int
    by_seed: float = 0.0

    @property
    def excess(self) -> float:
        """Size of the difference in tolerances; infinite where one side is missing or not a number."""
        if self.reference is None or self.value is None:
            return 0.0 if self.reference is self.value else math.inf
        return abs(self.value - self.reference) / self.tolerance

    @property
    def fails(self) -> bool:
        return self.excess > 1

    @property
    def is_as_another_seed(self) -> bool:
        """Whether another random stream alone could have made the difference."""
        return self.excess < math.inf and self.excess * self.tolerance <= self.by_seed


def compare(runs: Sequence[Run], values: Values, tier: int, seed: int) -> list[Difference]:
    """Every recorded number beside that of now; numbers that were not recorded are left out, see `unrecorded`.

    tier: 1 has a tight tolerance, 2 the spread within a seed, see `tolerance`
    seed: of `values`, which are compared with the mean of this seed's recorded runs
    """
    own = [run for run in runs if run.seed == seed]
    found = []
    for name in runs[0].values:
        by_seed = _by_seed(name, runs)
        if 0 < sum(map(len, by_seed.values())) < len(runs):
            continue  # comes and goes by chance
        numbers = [number for run in own if (number := run.values.get(name)) is not None]
        reference = float(np.mean(numbers)) if numbers else None
        allowed, others = tight_tolerance(name, reference), 0.0
        if tier == SPREAD_TIER and reference is not None:
            allowed = tolerance(reference, spread_within(by_seed))
            others = SEED_FACTOR * reproducibility(by_seed)
        # A number that is gone is not one that is not a number.
        value = values.get(name, math.inf if reference is None else None)
        found.append(Difference(name, reference, value, allowed, len(own), others))
    return found


def of_one_thread(runs: list[Run]) -> list[Run]:
    """Those of one thread, as tier 2 is compared on a CPU, where they tell a spread within a seed; else all.

    Where rates are high, a second thread's rounding changes a short training by 2 %, another processor's by .5.
    """
    alone = [run for run in runs if run.threads == 1]
    return alone if len(alone) > len({run.seed for run in alone}) else runs


def require_spread(runs: Sequence[Run], seed: int) -> None:
    """ConfigError where tier 2 has no run of the seed, or no seed two runs to tell the spread within one by."""
    seeds = {run.seed for run in runs}
    if seed not in seeds:
        raise ConfigError(f"tier 2 has no run of seed {seed}; run check --measure-spread --seeds {seed}")
    if len(runs) == len(seeds):
        raise ConfigError("tier 2 has one run a seed, so its spread is unknown; run check --measure-spread")


def unrecorded(runs: Sequence[Run], values: Values) -> list[str]:
    """Names of numbers that the reference does not have."""
    return [name for name in values if name not in runs[0].values]


def tight_tolerance(name: str, reference: float | None) -> float:
    """Tier 1's tolerance of a number, whose name has its metric as one part."""
    parts = name.split("/")
    base = next((TIGHT[part] for part in parts if part in TIGHT), TIGHT_OTHERS)
    return base * max(1.0, abs(reference or 0.0))


def tolerance(reference: float, spread: float) -> float:
    """Tier 2's: `FACTOR` SDs within a seed, and no less than what rounding may do where the SD is nearly 0.

    That floor is `RELATIVE_FLOOR` of the number, between tier 1's tolerances of a mean and of a single class.
    """
    floor = max(TIGHT["miou"], RELATIVE_FLOOR * abs(reference))
    return max(min(floor, TIGHT_OTHERS * max(1.0, abs(reference))), FACTOR * spread)


def spread_within(numbers: Mapping[int, Sequence[float]]) -> float:
    """SD within a seed, over threads, versions and processors: s_r of ISO 5725-2, pooled over the seeds.

    numbers: those of each seed's runs. 0 where no seed has two
    """
    freedom = sum(map(len, numbers.values())) - len(numbers)
    squares = sum(float(np.var(group)) * len(group) for group in numbers.values())
    return math.sqrt(squares / freedom) if freedom else 0.0


def reproducibility(numbers: Mapping[int, Sequence[float]]) -> float:
    """SD of a single run under another seed and other conditions: s_R of ISO 5725-2; 0 for one seed.

    The variance between the seeds' means, and of that within a seed what these means do not contain already.
    """
    if len(numbers) < 2:
        return 0.0
    between = float(np.var([np.mean(group) for group in numbers.values()], ddof=1))
    kept = float(np.mean([1 - 1 / len(group) for group in numbers.values()]))
    return math.sqrt(between + spread_within(numbers) ** 2 * kept)


def _by_seed(name: str, runs: Sequence[Run]) -> dict[int, list[float]]:
    """A number of each seed's runs, where they have it."""
    groups: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if (number := run.values.get(name)) is not None:
            groups[run.seed].append(number)
    return groups
