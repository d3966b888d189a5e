"""Which numbers differ by more than chance: tight tolerances for tier 1, measured spread for tier 2."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.check.reference import Run, Values
from benchmark.failures import ConfigError

TIGHT = {"miou": 0.001, "pixel_accuracy": 0.001, "threshold": 0.0101}
"""Tier 1's tolerances by metric. Other threads, libraries and processors flip single pixels, which means more to one
class than to the mean over classes; and two thresholds beside each other may be all but equally good."""
TIGHT_OTHERS = 0.005
"""Of the other metrics; where a number exceeds 1 (a ratio, a count), as a share of it."""
FACTOR = 2.8
"""Times the reproducibility SD: what two single runs differ by in 95 of 100 cases (ISO 5725-6)."""
FEWEST_SEEDS = 2
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
    """

    name: str
    reference: float | None
    value: float | None
    tolerance: float
    runs: int

    @property
    def excess(self) -> float:
        """Size of the difference in tolerances; infinite where one side is missing or not a number."""
        if self.reference is None or self.value is None:
            return 0.0 if self.reference is self.value else math.inf
        return abs(self.value - self.reference) / self.tolerance

    @property
    def fails(self) -> bool:
        return self.excess > 1


def compare(runs: Sequence[Run], values: Values, tier: int) -> list[Difference]:
    """Every recorded number beside that of now; numbers that were not recorded are left out, see `unrecorded`.

    tier: 1 has a tight tolerance, 2 the measured spread, and never less than tier 1's
    Raises ConfigError where the spread of tier 2 was not measured.
    """
    if tier == SPREAD_TIER and len({run.seed for run in runs}) < FEWEST_SEEDS:
        raise ConfigError(
            "tier 2 was recorded with one seed, so its spread is unknown; run check --measure-spread"
        )
    found = []
    for name in runs[0].values:
        recorded = [run.values.get(name) for run in runs]
        numbers = [number for number in recorded if number is not None]
        if 0 < len(numbers) < len(runs):
            continue  # comes and goes by chance
        reference = float(np.mean(numbers)) if numbers else None
        tolerance = tight_tolerance(name, reference)
        if tier == SPREAD_TIER and numbers:
            tolerance = max(tolerance, FACTOR * reproducibility(numbers, [run.seed for run in runs]))
        # A number that is gone is not one that is not a number.
        value = values.get(name, math.inf if reference is None else None)
        found.append(Difference(name, reference, value, tolerance, len(runs)))
    return found


def unrecorded(runs: Sequence[Run], values: Values) -> list[str]:
    """Names of numbers that the reference does not have."""
    return [name for name in values if name not in runs[0].values]


def tight_tolerance(name: str, reference: float | None) -> float:
    """Tier 1's tolerance of a number, whose name has its metric as one part."""
    parts = name.split("/")
    base = next((TIGHT[part] for part in parts if part in TIGHT), TIGHT_OTHERS)
    return base * max(1.0, abs(reference or 0.0))


def reproducibility(numbers: Sequence[float], seeds: Sequence[int]) -> float:
    """SD of a single run under another seed and other conditions (threads, versions): s_R of ISO 5725-2.

    The variance between the seeds' means, and of that within a seed what these means do not contain already.
    numbers, seeds: one of each a run; of two seeds at least
    """
    groups: dict[int, list[float]] = defaultdict(list)
    for number, seed in zip(numbers, seeds, strict=True):
        groups[seed].append(number)
    means = [np.mean(group) for group in groups.values()]
    between = float(np.var(means, ddof=1))
    freedom = len(numbers) - len(groups)
    squares = sum(float(np.sum((np.asarray(g) - np.mean(g)) ** 2)) for g in groups.values())
    within = squares / freedom if freedom else 0.0
    kept = float(np.mean([1 - 1 / len(group) for group in groups.values()]))
    return math.sqrt(between + within * kept)
