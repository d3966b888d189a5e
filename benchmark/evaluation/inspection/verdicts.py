"""Verdicts on whole images: AUROC, what escapes where so much is overkill, and the class that a label map says.

An image is rejected where its score reaches a threshold. *Escapes* are defective images that are accepted, as a share
of the defective ones; *overkill* is good images that are rejected, as a share of the good ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

NAN = float("nan")
GOOD = 0
"""Verdict on an image without a pixel of any class; other verdicts are class ids."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


def auroc(scores: Floats, defective: Bools) -> float:
    """Probability that a defective image has a higher score than a good one, equal ones counting half; NaN where there
    are no good or no defective ones. Both (N,)."""
    return float(roc_auc_score(defective, scores)) if 0 < np.count_nonzero(defective) < len(scores) else NAN


class Rates(NamedTuple):
    """What each threshold does, from the one that rejects nothing down to the lowest score.

    thresholds: (T,) descending, an image is rejected where its score is not below; overkill: (T,) ascending;
    escapes: (T,) descending. Shares of the good and of the defective images
    """

    thresholds: Floats
    overkill: Floats
    escapes: Floats


def rates(scores: Floats, defective: Bools) -> Rates | None:
    """Of all thresholds that tell the images apart; None where there are no good or no defective ones. Both (N,)."""
    total = np.count_nonzero(defective)
    if not 0 < total < len(scores):
        return None
    overkill, found, thresholds = roc_curve(defective, scores, drop_intermediate=False)
    # in whole images: 1 - .95 is more than .05
    return Rates(thresholds, overkill, (total - np.rint(found * total)) / total)


def escapes_at(overkill: float, of: Rates) -> tuple[float, float]:
    """Lowest escape rate at no more than this overkill rate, and the highest threshold that has it.

    Nothing is interpolated: between two thresholds there is none that a line could be set to.
    """
    allowed = np.searchsorted(of.overkill, overkill, side="right")
    best = int(np.argmin(of.escapes[:allowed]))
    return float(of.escapes[best]), float(of.thresholds[best])


def overkill_at(escapes: float, of: Rates) -> tuple[float, float]:
    """Lowest overkill rate at no more than this escape rate, and the highest threshold that has it."""
    first = int(np.argmax(of.escapes <= escapes))
    return float(of.overkill[first]), float(of.thresholds[first])


def rates_of(rejected: Bools, defective: Bools) -> tuple[float, float]:
    """Overkill and escape rate of verdicts; NaN without good or without defective images. Both (N,)."""
    shares = [
        float(wrong.mean()) if wrong.size else NAN for wrong in (rejected[~defective], ~rejected[defective])
    ]
    return shares[0], shares[1]


def verdicts_of(labels: NDArray[np.uint8], classes: int) -> NDArray[np.intp]:
    """The class that most pixels of each label map have, or `GOOD`: (N, H, W) of 0, 1..classes, 255 -> (N,)."""
    flat = labels.reshape(len(labels), -1).astype(np.intp)
    code = flat + 256 * np.arange(len(flat))[:, None]
    pixels = np.bincount(code.ravel(), minlength=256 * len(flat)).reshape(-1, 256)[:, 1 : classes + 1]
    return np.where(pixels.any(1), pixels.argmax(1) + 1, GOOD)
