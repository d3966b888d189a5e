"""What estimates from a few masks are worth on images that all have masks: many draws, and how they fare."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.selection.estimates import POWER, Areas, Estimates, estimate, known_classes, linearised
from benchmark.selection.sampling import inclusion, order

DRAWS = 1000
PLAIN, EVIDENCE, ORDERED = "plain", "evidence", "ordered"
WAYS = (PLAIN, EVIDENCE, ORDERED)
"""Random images without and with evidence, and with it images in the order of `sampling`."""
_AT_ONCE = 4_000_000
"""Draws times images that are computed at once: 32 MB an array."""


@dataclass(frozen=True)
class Fared:
    """How E quantities fared, (E,) each: width of the intervals and whether they cover, error, whether 0 is outside.

    error: root mean square; told: share of draws whose interval is on the true side of 0
    """

    width: np.ndarray
    coverage: np.ndarray
    error: np.ndarray
    told: np.ndarray


def simulate(
    truth: Areas,
    stand_in: Areas,
    size: np.ndarray,
    combine: np.ndarray,
    masks: int,
    way: str,
    certain: np.ndarray | None = None,
    draws: int = DRAWS,
) -> Fared:
    """One of `WAYS` with so many masks of N images. The draws are the same each time.

    size: (N,) of `sampling.sizes`; certain: (N,) bool, images that are known without being drawn
    """
    images = len(size)
    certain = np.zeros(images, bool) if certain is None else certain
    open_ = np.flatnonzero(~certain)
    whole = linearised(truth, np.ones((1, images)), combine).value[0]
    classes = known_classes(stand_in)
    rng = np.random.default_rng(masks)
    chunk = max(1, _AT_ONCE // (images * len(combine)))
    sizes = size[open_] if way == ORDERED else np.ones(len(open_))
    probability = np.ones(images)
    probability[open_] = inclusion(sizes, masks)
    known = None if way == PLAIN else stand_in
    found = []
    for start in range(0, draws, chunk):
        numbers = rng.random((min(chunk, draws - start), len(open_)))
        drawn = np.tile(certain, (len(numbers), 1))
        np.put_along_axis(drawn, open_[order(sizes, numbers)[:, :masks]], True, 1)
        found.append(estimate(truth, drawn, probability, combine, classes, known))
    return _fared(found, whole)


def needed_masks(
    truth: Areas,
    stand_in: Areas,
    size: np.ndarray,
    difference: np.ndarray,
    way: str,
    least: int,
    certain: np.ndarray | None = None,
) -> int:
    """How many masks tell a difference, (1, A), from 0 in `POWER` of the draws, from `least` on; all if no fewer do."""
    most = len(size) if certain is None else int((~certain).sum())
    used = difference.any(0)
    truth, stand_in = (Areas(*(part[used] for part in areas)) for areas in (truth, stand_in))
    difference = difference[:, used]

    def enough(masks: int) -> bool:
        return bool(simulate(truth, stand_in, size, difference, masks, way, certain).told[0] >= POWER)

    return least + bisect_left(range(least, most), True, key=enough)


def _fared(parts: Sequence[Estimates], whole: np.ndarray) -> Fared:
    value = np.concatenate([part.value for part in parts])
    half = np.concatenate([part.half_width() for part in parts])
    off = value - whole
    return Fared(
        2 * half.mean(0),
        (np.abs(off) <= half).mean(0),
        np.sqrt((off**2).mean(0)),
        (value * np.sign(whole) > half).mean(0),
    )


def ladder(images: int, least: int) -> list[int]:
    """Numbers of masks to look at: 1, 2 and 5 times powers of 10, from `least` to four fifths of the images."""
    steps = [factor * 10**power for power in range(7) for factor in (1, 2, 5)]
    return [step for step in steps if least <= step <= 0.8 * images] or [max(4, images // 2)]
