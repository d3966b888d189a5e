"""One thing that is looked at in a bundle, and how what is wrong is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmark.evaluation.counts import Counts
from benchmark.evaluation.curves import ThresholdBins

NAMED = 3
"""Instances of a fault that are named."""


@dataclass
class Check:
    """One thing that was looked at. faults: what is wrong, a line each; notes: what could not be looked at."""

    what: str
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.faults


def named(images: Sequence[str], what: str) -> list[str]:
    if not images:
        return []
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return [f"{what} {', '.join(images[:NAMED])}{more}"]


def bins_of(counts: Counts) -> ThresholdBins:
    return ThresholdBins(np.asarray(counts.header.thresholds or (), np.float32))
