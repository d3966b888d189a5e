"""The mIoU of N images from the masks of a few, with and without a stand-in for masks that all images have.

Images are drawn with known probabilities, and each drawn one counts 1/probability times. The plain estimate is the mIoU
of these weighted counts. It is a ratio of sums, so its variance is that of the weighted sum of each image's influence,
its linear part (Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, sec. 5.5). The estimate with
evidence is moved by what the luck of the draw did to the same mIoU against a stand-in for the masks, which is known of
the drawn images and of all: a control variate, or prediction-powered inference with a tuned weight (Angelopoulos, Duchi
and Zrnic, PPI++, 2023). How far it is moved is regressed on the drawn images, so a stand-in that knows nothing changes
nothing but a degree of freedom; a wrong one makes no bias.

Everything is for R draws at once; nothing loops over images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special

LEVEL = 0.95
POWER = 0.8
"""With so many masks two methods are told apart this often: as in `results.intervals`."""
PRIOR = 1.0
"""Images that the usual variance of a class counts as much as."""


class Areas(NamedTuple):
    """Pixels of A artifacts' maps by image and class, the background first; (A, N, C) float64.

    both: of the class in map and truth; union: in either; truth: in the truth
    """

    both: np.ndarray
    union: np.ndarray
    truth: np.ndarray


def known_classes(stand_in: Areas) -> np.ndarray:
    """(C,) bool, classes that some image has by its labels."""
    return np.asarray((stand_in.truth > 0).any((0, 1)))


class Estimates(NamedTuple):
    """Of R draws and E quantities, (R, E).

    error:   standard errors
    spread:  standard deviation of single images: n random ones of N have the error spread · √(1/n − 1/N)
    freedom: degrees of freedom of the error, (R, 1)
    """

    value: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    freedom: np.ndarray

    def half_width(self, level: float = LEVEL) -> np.ndarray:
        """Of the interval that holds the N images' own value with this probability, (R, E)."""
        return critical(self.freedom, level) * self.error


def estimate(
    areas: Areas,
    drawn: np.ndarray,
    probability: np.ndarray,
    combine: np.ndarray,
    classes: np.ndarray,
    stand_in: Areas | None = None,
) -> Estimates:
    """Combinations of the artifacts' mIoU over all N images, from the images drawn.

    areas: of images that are not drawn any finite number
    drawn: (R, N) bool, at least 4 in each draw; probability: (N,) of being drawn, in (0, 1], 1 for images that are
    known without being drawn
    combine: (E, A) weights: the mean over an entry's seeds, a difference of two entries
    classes: (C,) bool, those that some of the N images have
    stand_in: the same maps against a truth that all images have; None: the plain estimate
    A class without a drawn pixel of truth is not in the mean, as in the scores.
    """
    weights = drawn / probability
    own = linearised(areas, weights, combine)
    value, influence = own.value, own.influence
    spare = np.where(drawn, 1 - probability, 0.0)[:, None]  # 0 for an image that is certain to be drawn
    parts = _centred(weights[:, None] * influence, spare)
    lost = 1
    if stand_in is not None:
        other = linearised(stand_in, weights, combine)
        everywhere = linearised(stand_in, np.ones((1, weights.shape[1])), combine)
        control = _centred(weights[:, None] * other.influence, spare)
        slope = _ratio((spare * parts * control).sum(-1), (spare * control**2).sum(-1))
        value = value - slope * (other.value - everywhere.value)
        parts = parts - slope[..., None] * control
        influence = influence - slope[..., None] * other.influence
        lost = 2
    n = (spare[:, 0] > 0).sum(1, keepdims=True)
    freedom = np.maximum(n - lost, 1)
    variance = n / freedom * (spare * parts**2).sum(-1)
    share = (weights / weights.sum(1, keepdims=True))[:, None]
    inside = influence - (share * influence).sum(-1, keepdims=True)
    spread = n / freedom * (share * inside**2).sum(-1)
    of_rare, of_missing = _inflation(own, classes)
    mix = np.abs(combine) / np.abs(combine).sum(1, keepdims=True)
    return Estimates(
        value,
        np.sqrt(variance * ((of_rare + of_missing) @ mix.T)),
        weights.shape[1] * np.sqrt(spread * (of_rare @ mix.T)),
        freedom,
    )


class Linear(NamedTuple):
    """A weighted mIoU and its parts, of R draws.

    value: (R, E) combined; influence: (R, E, N) of each image on it, whose weighted sum is 0
    iou, variance: (R, A, C) of each class, NaN where it is not drawn; images: (R, A, C), how many it rests on
    """

    value: np.ndarray
    influence: np.ndarray
    iou: np.ndarray
    variance: np.ndarray
    images: np.ndarray


def linearised(areas: Areas, weights: np.ndarray, combine: np.ndarray) -> Linear:
    """The mIoU of weighted images; weights: (R, N), 0 for an image that is not drawn, whose influence is of no use.

    A class that rests on few images varies too little among them: its influences are widened by √(n/(n − 1)), n being
    Kish's effective number, at least 2 (as in `benchmark.evaluation.bootstrap`).
    """
    draws, images = weights.shape
    values, influences = np.zeros((draws, len(combine))), np.zeros((draws, len(combine), images))
    of_classes = []
    for both, union, truth, share in zip(*areas, combine.T):
        inside, around = weights @ both, weights @ union  # (R, C)
        present = weights @ truth > 0
        iou = np.where(present, _ratio(inside, around), 0.0)
        count = np.maximum(present.sum(1, keepdims=True), 1)
        squares = weights**2
        rests_on = _ratio(around**2, squares @ union**2)
        widened = np.where(present, np.sqrt(1 / (1 - 1 / np.maximum(rests_on, 2))), 0.0)
        slope = _ratio(widened, around)
        influence = (slope / count) @ both.T - (slope / count * iou) @ union.T
        values += (iou.sum(1, keepdims=True) / count) * share
        for n in np.flatnonzero(share):
            influences[:, n] += share[n] * influence
        off = squares @ both**2 - 2 * iou * (squares @ (both * union)) + iou**2 * (squares @ union**2)
        unknown = np.where(present, 0.0, np.nan)
        of_classes.append((iou + unknown, slope**2 * np.maximum(off, 0) + unknown, rests_on + unknown))
    return Linear(values, influences, *(np.stack(each, 1) for each in zip(*of_classes)))


def _inflation(found: Linear, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much the variance is larger than it looks, for classes on few images, and for those on none: (R, A) each.

    A class on one image has no variance, and one on two or three has too little or too much: each is drawn towards what
    is usual among the classes, which counts as much as `PRIOR` images (Smyth 2004). A class that no drawn image has is
    as far from the mean of the others as these are from each other.
    """
    present = np.isfinite(found.iou)
    images, own = np.nan_to_num(found.images, nan=1.0), np.nan_to_num(found.variance)
    more = np.where(present, np.maximum(images - 1, 0), 0.0)
    usual = _ratio((more * own).sum(-1), _ratio(more, images).sum(-1))[..., None]  # of single images
    drawn_to = (more * own + PRIOR * usual / np.maximum(images, 1)) / (more + PRIOR)
    whole = own.sum(-1)
    count = present.sum(-1)
    missing = np.maximum(classes.sum() - count, 0)
    between = np.where(present, found.iou - _ratio(np.nansum(found.iou, -1), count)[..., None], 0.0)
    between = (between**2).sum(-1) / np.maximum(count - 1, 1)
    # (share of the missing)² · between · (1/missing + 1/count), in the units of a sum over the count
    apart = between * count * missing / np.maximum(missing + count, 1)
    certain = whole <= 0
    rare = np.where(certain, 1.0, _ratio(np.where(present, drawn_to, 0.0).sum(-1), whole))
    return rare, np.where(certain, 0.0, _ratio(apart, whole))


def critical(freedom: np.ndarray | float, level: float = LEVEL) -> np.ndarray:
    """Student's t quantile of a two-sided interval."""
    return np.asarray(scipy.special.stdtrit(freedom, (1 + level) / 2))


def half_width(
    spread: np.ndarray | float, masks: np.ndarray | float, images: int, controls: int = 0
) -> np.ndarray:
    """Of the interval from so many random masks of N images; controls: regressed on (1 with a stand-in)."""
    masks = np.asarray(masks, float)
    error = np.sqrt(np.maximum(1 / masks - 1 / images, 0))
    return np.asarray(spread * critical(np.maximum(masks - 1 - controls, 1)) * error)


def masks_needed(spread: float, difference: float, images: int, least: int = 4) -> int:
    """How many random masks of N tell a true difference from 0 with power `POWER`, from `least` on; N if no fewer do.

    spread: of the difference, in `Estimates`
    """
    masks = np.arange(least, images)
    quantiles = critical(masks - 2.0) + scipy.special.stdtrit(masks - 2.0, POWER)
    enough = quantiles * spread * np.sqrt(1 / masks - 1 / images) <= abs(difference)
    return int(masks[np.argmax(enough)]) if difference and enough.any() else images


def _centred(parts: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """Less their mean, weighted by 1 − probability (Hájek's variance of a sample of a fixed size)."""
    return np.asarray(parts - _ratio((spare * parts).sum(-1), spare.sum(-1))[..., None])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, 0 where below is 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.zeros(shape), where=below > 0)
