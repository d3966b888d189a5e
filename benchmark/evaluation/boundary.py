"""Class-agnostic boundary recall, precision and F1 of label maps (EPS, Tab. 1, after BES).

A boundary pixel is one whose label differs from that of one of its four neighbours. The Laplacian of the label map is
not 0 there, unless differences between ids cancel. Boundary pixels of the two maps are matched one to one, as many as
can be, within a radius: a fraction of the image's diagonal (.0075) and never less than a pixel. This is the Berkeley
benchmark (Martin, Fowlkes and Malik, PAMI 2004; `correspondPixels` of BSDS500, where leaving a pixel
unmatched costs 100 times the radius, so that no distance outweighs a match), on which SBD's is built. Were
every pixel with a neighbour in the other map a hit, a thick or a speckled band along a contour would be as good as the
contour. Counts are summed over images before they are divided, as those of the mIoU are.

The rim of 255 that VOC draws around objects hides where the boundary is. A pixel of 255 within the radius of a scored
one therefore takes the label of the nearest scored pixel, which puts the boundary into the middle of the rim; what
lies deeper in 255 has no boundaries, in the truth or in the prediction.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from datasets.base import IGNORE

TOLERANCE = 0.0075
"""Radius as a fraction of the image's diagonal: the default of the Berkeley benchmark. SBD's own tool takes .02
(Hariharan et al., ICCV 2011), its re-annotation .0075 again (SEAL, Yu et al., ECCV 2018)."""

_GATHERED = 1 << 15
"""Neighbours looked at in one operation. It bounds memory where pixels are many, and saves passes where they are few."""


def boundary_counts(
    ground_truth: np.ndarray, prediction: np.ndarray, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Boundary pixels of each image of a batch, and how many of them the other map has too.

    ground_truth: (N, H, W) uint8, 255 where not scored; prediction: (N, H, W) uint8, 255 counts as background
    tolerance:    radius as a fraction of the diagonal, in (0, 1)
    returns:      (N, 4) int64: the truth's boundary pixels that are matched, and all of the truth's; the prediction's
                  that are matched, and all of the prediction's
    """
    radius = max(1.0, tolerance * math.hypot(*ground_truth.shape[-2:]))
    truth = fill_rims(ground_truth, radius)
    known = truth != IGNORE
    true = boundaries(truth, known)
    predicted = boundaries(np.where(prediction == IGNORE, np.uint8(0), prediction), known)
    matched = np.array([_matched(*pair, radius) for pair in zip(true, predicted)], np.int64)
    totals = [np.count_nonzero(pixels, axis=(-2, -1)) for pixels in (true, predicted)]
    return np.stack([matched, totals[0], matched, totals[1]], axis=-1)


def boundary_scores(counts: np.ndarray) -> tuple[float, float, float]:
    """Recall, precision and F1 of summed counts (4,).

    Recall is NaN where there is nothing to find, precision where nothing was drawn, F1 where both.
    """
    found, true, right, predicted = (float(count) for count in counts)
    recall = found / true if true else math.nan
    precision = right / predicted if predicted else math.nan
    if not true and not predicted:
        return recall, precision, math.nan
    f1 = 2 * recall * precision / (recall + precision) if found and right else 0.0
    return recall, precision, f1


def boundaries(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Boundary pixels of label maps, (..., H, W) bool; only two known neighbours make one.

    labels: (..., H, W); known: (..., H, W) bool
    """
    found = np.zeros(labels.shape, np.bool_)
    for first, second in (
        (np.s_[..., :-1, :], np.s_[..., 1:, :]),
        (np.s_[..., :, :-1], np.s_[..., :, 1:]),
    ):
        differs = (labels[first] != labels[second]) & known[first] & known[second]
        found[first] |= differs
        found[second] |= differs
    return found


def fill_rims(labels: np.ndarray, radius: float) -> np.ndarray:
    """Label maps (N, H, W) uint8 whose pixels of 255 within the radius of others take the label of the nearest.

    Of equally near ones the upper, then the left one is taken. The others stay 255.
    """
    place = _places(labels == IGNORE, radius)
    if not len(place):
        return labels
    padded = _padded(labels, IGNORE, radius)
    source, target = padded.reshape(-1), padded.copy().reshape(-1)
    steps = _steps(radius, padded.shape[-1])
    while len(place) and len(steps):
        now, steps = np.split(steps, [max(1, _GATHERED // len(place))])
        found = source.take(place[:, None] + now)
        nearest = (found != IGNORE).argmax(1)[:, None]
        target[place] = np.take_along_axis(found, nearest, 1)[:, 0]
        place = place[target[place] == IGNORE]
    reach = int(radius)
    return target.reshape(padded.shape)[:, reach:-reach, reach:-reach]


def _matched(true: np.ndarray, predicted: np.ndarray, radius: float) -> int:
    """How many pixels of two maps (H, W) bool can be matched one to one within the radius.

    It is the maximum flow of one unit a pixel, from a source over true pixels and those near them to a sink. Dinic's
    algorithm takes milliseconds; SciPy's matching (Hopcroft and Karp's) takes minutes where contours lie side by side.
    """
    place, others = _places(true[None], radius), _places(predicted[None], radius)
    reach = int(radius)
    height, width = (side + 2 * reach for side in true.shape)
    first, source, sink = len(place), len(place) + len(others), len(place) + len(others) + 1
    node = np.zeros(height * width, np.int32)
    node[others] = np.arange(first, source, dtype=np.int32)
    near = node.take(place[:, None] + _steps(radius, width))
    edges = near > 0
    # rows are nodes: true pixels, predicted ones, source, sink
    out = np.concatenate([edges.sum(1), np.ones(len(others), np.int64), [len(place), 0]])
    ends = np.concatenate([near[edges], np.full(len(others), sink), np.arange(first)]).astype(np.int32)
    starts = np.concatenate([[0], out.cumsum()]).astype(np.int32)
    graph = csr_array((np.ones(len(ends), np.int32), ends, starts), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, source, sink, method="dinic").flow_value)


def _padded(maps: np.ndarray, value: int, radius: float) -> np.ndarray:
    """Maps (N, H, W) in a frame as wide as the radius, so that steps of `_steps` do not leave an image."""
    reach = int(radius)
    return np.pad(maps, ((0, 0), (reach, reach), (reach, reach)), constant_values=value)


def _places(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Where the set pixels of (N, H, W) bool lie in the flattened `_padded`."""
    reach = int(radius)
    _, height, width = pixels.shape
    rest, x = np.divmod(np.flatnonzero(pixels), width)
    image, y = np.divmod(rest, height)
    return (image * (height + 2 * reach) + y + reach) * (width + 2 * reach) + x + reach


@lru_cache
def _steps(radius: float, row: int) -> np.ndarray:
    """Steps in a flattened map with rows of `row` pixels to all pixels within the radius, the nearest first."""
    reach = range(-int(radius), int(radius) + 1)
    near = [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius * radius]
    near.sort(key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))
    return np.array([dy * row + dx for dy, dx in near])
