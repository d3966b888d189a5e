"""AUPRO: area under the curve of per-region overlap against the false-positive rate, as MVTec and anomalib define it.

A region is a connected part of the truth's defects (pixels touch by sides or corners). At each threshold the overlap is
the share of a region's pixels whose score reaches it, averaged over the regions of all images; the false-positive rate
is the same share of all normal pixels. The area is taken up to a false-positive rate of .3, where the curve is
interpolated, and divided by it (Bergmann et al., IJCV 2021). Every threshold counts, none is binned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from datasets.base import IGNORE

LIMIT = 0.3
"""Highest false-positive rate of the area."""
_TOUCHING = np.zeros((3, 3, 3), bool)
_TOUCHING[1] = True


def regions(defects: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected regions of a batch (N, H, W): each pixel's region, from 1, 0 outside; and how many there are.

    Pixels touch by sides or corners, within an image.
    """
    numbers, count = ndimage.label(defects, _TOUCHING)
    return numbers, int(count)


class RegionOverlap:
    """Sums over images that AUPRO follows from, of scores that are whole numbers from 0 to `levels` - 1.

    normal: (L,) normal pixels at each level; overlap: (L,) sum over regions of the share of their pixels at each level;
    regions: number of them. Its size does not depend on the images; those of shards add up.
    """

    def __init__(self, levels: int) -> None:
        self.normal = np.zeros(levels, np.int64)
        self.overlap = np.zeros(levels)
        self.regions = 0

    def add(self, levels: NDArray[np.integer], truth: NDArray[np.uint8]) -> RegionOverlap:
        """Add a batch; both (N, H, W), in the truth 0 is normal, 255 not counted and everything else a defect."""
        number = len(self.normal)
        self.normal += np.bincount(levels[truth == 0].ravel(), minlength=number)
        defects = (truth != 0) & (truth != IGNORE)
        if defects.any():
            numbers, count = regions(defects)
            of = numbers[defects] - 1
            share = 1 / np.bincount(of, minlength=count)
            self.overlap += np.bincount(levels[defects], share[of], number)
            self.regions += count
        return self

    def __iadd__(self, other: RegionOverlap) -> RegionOverlap:
        self.normal += other.normal
        self.overlap += other.overlap
        self.regions += other.regions
        return self

    def area(self, limit: float = LIMIT) -> float:
        """AUPRO up to a false-positive rate in (0, 1]; NaN without a region or a normal pixel."""
        total = self.normal.sum()
        if not total or not self.regions:
            return float("nan")
        rate = np.append(0.0, self.normal[::-1].cumsum() / total)
        overlap = np.append(0.0, self.overlap[::-1].cumsum() / self.regions)
        inside = int(np.searchsorted(rate, limit, side="right"))
        x, y = rate[:inside], overlap[:inside]
        if x[-1] < limit:
            slope = (overlap[inside] - y[-1]) / (rate[inside] - x[-1])
            x, y = np.append(x, limit), np.append(y, y[-1] + slope * (limit - x[-1]))
        return float(np.sum((y[1:] + y[:-1]) * np.diff(x)) / 2 / limit)


def aupro(scores: NDArray[np.floating], truth: NDArray[np.uint8], limit: float = LIMIT) -> float:
    """AUPRO of score maps (N, H, W), the higher the likelier a defect; truth and result as in `RegionOverlap`."""
    values, levels = np.unique(scores, return_inverse=True)
    return RegionOverlap(len(values)).add(levels.reshape(scores.shape), truth).area(limit)
