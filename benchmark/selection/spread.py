"""How far images differ in truth, over how far they do against the consensus: what a plan without any mask goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from benchmark.selection.areas import expected
from benchmark.selection.budget_inputs import stored_truth
from benchmark.selection.candidates import SPLITS, Found
from benchmark.selection.estimates import Areas, linearised
from benchmark.selection.model import RATIOS
from datasets.files.decoding import image_size
from methods.base import Kind

if TYPE_CHECKING:
    import pandas as pd


def spread_ratios(found: Found, evidence: pd.DataFrame) -> dict[str, float] | None:
    """`RATIOS`, medians over the label maps of a run that has masks; None where two methods have none."""
    singles, pairs = [], []
    for kind in (Kind.PSEUDO_LABEL, Kind.PREDICTION):
        candidates = [each for each in found.candidates if each.kind == kind]
        if len({each.method for each in candidates}) < 2:
            continue
        keys = [each.key for each in candidates]
        rows = evidence[evidence["key"].isin(keys)]
        taken = set(rows["image"])
        samples = [sample for sample in found.data.samples(SPLITS[kind]) if sample.id in taken]
        images = tuple(sample.id for sample in samples)
        pixels = np.array([np.prod(image_size(sample.image)) for sample in samples])
        truth, masked = stored_truth(found, candidates, [None] * len(keys), images)
        if truth is None or masked.sum() < 2:
            continue
        stand_in = expected(rows, keys, images, pixels, len(found.data.classes))
        either = [Areas(*(part[:, masked] for part in areas)) for areas in (truth, stand_in)]
        once = np.ones((1, int(masked.sum())))
        own, other = (linearised(areas, once, np.eye(len(keys))).influence[0] for areas in either)
        singles += [_ratios(own[a], other[a]) for a in range(len(keys))]
        pairs += [
            _ratios(own[a] - own[b], other[a] - other[b])
            for a, b in combinations(range(len(keys)), 2)
            if candidates[a].method != candidates[b].method
        ]
    if not pairs:
        return None
    medians = np.array([*np.nanmedian(singles, 0), *np.nanmedian(pairs, 0)])
    return dict(zip(RATIOS, medians.tolist())) if np.isfinite(medians).all() else None


def largest(found: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    """Of several data sets: a plan is rather for too many masks."""
    known = [each for each in found if each is not None]
    return {name: max(each[name] for each in known) for name in RATIOS} if known else None


def _ratios(own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    spread = float(other.std())
    if not spread:
        return float("nan"), float("nan")
    share = float(np.mean((own - own.mean()) * (other - other.mean()))) / spread**2
    return float(own.std()) / spread, float((own - share * other).std()) / spread
