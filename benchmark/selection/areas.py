"""Areas by artifact, image and class: true ones from stored counts, and what stands in for them from evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.selection.estimates import Areas

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.evaluation.counts import Counts


def counted(counts: Sequence[Counts], thresholds: Sequence[float | None], images: Sequence[str]) -> Areas:
    """Areas of scored artifacts, in the images' order; 0 for images that have no mask.

    thresholds: of CAMs' counts, one of those that are stored; None for label maps
    """
    from benchmark.evaluation.bootstrap import true_and_predicted

    place = {image: n for n, image in enumerate(images)}
    found = []
    for each, threshold in zip(counts, thresholds):
        truth, predicted = true_and_predicted(each, threshold)
        at = np.array([place.get(image, -1) for image in each.images], np.intp)[each.image]
        shape = (len(images), len(each.header.naming.labels))
        both = _pixels(at, truth, each.count * (truth == predicted), shape)
        true = _pixels(at, truth, each.count, shape)
        found.append((both, true + _pixels(at, predicted, each.count, shape) - both, true))
    return Areas(*(np.stack(parts) for parts in zip(*found)))


def _pixels(image: np.ndarray, group: np.ndarray, count: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Counts summed by image and class; image: -1 for what is left out."""
    known = image >= 0
    return np.bincount((image * shape[1] + group)[known], count[known], shape[0] * shape[1]).reshape(shape)


def expected(
    evidence: pd.DataFrame, keys: Sequence[str], images: Sequence[str], pixels: np.ndarray, classes: int
) -> Areas:
    """Areas of artifacts against the consensus of the other methods, from evidence of one threshold each.

    evidence: rows of `collect`; pixels: (N,) of the images; classes: C, without the background
    An image without evidence has no labels: it counts as background that is found. Without another method there is no
    consensus: a map is then held against itself, which says where its classes are and nothing of its errors.
    """
    import pandas as pd

    rows = evidence[evidence["key"].isin(keys)]
    shape = (len(keys), len(images), classes + 1)
    places = (
        pd.Index(keys).get_indexer(pd.Index(rows["key"])),
        pd.Index(images).get_indexer(pd.Index(rows["image"])),
        rows["class"].to_numpy() + 1,
    )
    known = places[1] >= 0
    where = tuple(np.asarray(each)[known] for each in places)
    rows = rows[known]
    own, other, agreement = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    area = np.where(rows["found"] > 0, np.exp2(rows["log_area"]), 0.0)
    own[where] = np.where(rows["class"] >= 0, area, 0.0)
    expects = np.exp2(rows["log_expected"].fillna(rows["log_area"]))
    other[where] = np.where(rows["class"] >= 0, expects, 0.0)
    agreement[where] = rows["agreement"].fillna(1.0 if rows["agreement"].isna().all() else 0.0)
    within = np.ones(shape[:2])
    objects = rows["class"].to_numpy() >= 0
    within[where[0][objects], where[1][objects]] = rows["within"].to_numpy()[objects]
    seen = np.zeros(shape[:2], bool)
    seen[where[:2]] = True
    own[..., 0] = np.clip(1 - own.sum(-1) / np.maximum(within, 1e-3), 0, 1)
    other[..., 0] = np.clip(1 - other.sum(-1), 0, 1)
    agreement[..., 0] = np.where(seen, agreement[..., 0], 1.0)
    both = agreement * (own + other) / (1 + agreement)
    scale = pixels[:, None].astype(float)
    return Areas(both * scale, (own + other - both) * scale, other * scale)
