"""The rules by which published code scores label maps and CAMs. Of each, the score follows from counts of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np

from benchmark.evaluation.curves import counts_above
from datasets.base import IGNORE

MOST = 3
"""Things in which a rule may differ from this benchmark's. With more, some rule gives nearly any number."""
CHUNK = 512
"""Images whose tallies are in memory at once: of CAMs, each has one for every class and threshold."""

NATIVE, PREDICTED = "native", "prediction"
"""Sizes at which masks and predictions are compared: the masks' own, the predictions' own; others are numbers."""
ORACLE, FIXED = "oracle", "fixed"


@dataclass(frozen=True)
class Rule:
    """One way to score; the defaults are this benchmark's.

    images: name of the list that is scored
    size: NATIVE, PREDICTED, or the side in pixels to which both maps are stretched
    crf: whether a dense CRF goes before
    labels: whether the image labels are known at test time
    predicted_255: what pixels predicted 255 are: background, out (not scored), wrong (in the truth's class alone)
    void: what pixels of 255 in the masks are: out, background
    mean: what is averaged: summed (counts are summed before the IoU), image (each image's mIoU), class (each class's
          mean over images)
    absent: the IoU of a class that the masks lack: out (no part of the mean), predicted (0 where it is predicted, else
          out), zero, one (0 where it is predicted, else 1)
    background: whether it is part of the mean: in, out
    threshold: of CAMs: ORACLE (the best for the score), FIXED; empty for label maps
    """

    images: str
    size: str = NATIVE
    crf: str = "no"
    labels: str = "unknown"
    predicted_255: str = "background"
    void: str = "out"
    mean: str = "summed"
    absent: str = "out"
    background: str = "in"
    threshold: str = ""

    def differs(self, base: Rule) -> tuple[str, ...]:
        """Names of what is otherwise than in another rule."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(base, f.name))


MEANS, ABSENT, BACKGROUND = ("summed", "image", "class"), ("out", "predicted", "zero", "one"), ("in", "out")
COUNTED = ("images", "size", "crf", "labels", "predicted_255", "void")
"""What decides which pixels are counted as what; the rest is arithmetic on the same tallies."""


@dataclass(frozen=True)
class Counts:
    """Pixel pairs of images, rows of an image adjacent and images ascending.

    image: (R,) position of the image; truth: (R,) 0..C, or C + 1 where the mask is 255; predicted: (R,) 0..C or 255
    bin: (R,) number of thresholds below the score of a CAM, None of label maps; pixels: (R,)
    """

    image: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    bin: np.ndarray | None
    pixels: np.ndarray


@dataclass(frozen=True)
class Tally:
    """Pixels by class of n images: true, predicted, both at once; (K, n, C + 1) at K thresholds, `true` (1, n, C + 1)."""

    true: np.ndarray
    predicted: np.ndarray
    both: np.ndarray


def tallies(
    counts: Counts, rule: Rule, kept: np.ndarray, labelled: np.ndarray, thresholds: int
) -> Iterator[Tally]:
    """Tallies of the images of a rule, some images at a time.

    kept: (N,) whether an image is scored; labelled: (N, C + 1) whether an image's labels hold a class, the background
    always; thresholds: K, of CAMs
    """
    positions = np.flatnonzero(kept)
    for first in range(0, len(positions), CHUNK):
        chosen = positions[first : first + CHUNK]
        rows = slice(*np.searchsorted(counts.image, (chosen[0], chosen[-1] + 1)))
        image = np.full(len(kept), -1, np.intp)
        image[chosen] = np.arange(len(chosen))
        part = Counts(
            image[counts.image[rows]],
            counts.truth[rows].astype(np.intp),
            counts.predicted[rows].astype(np.intp),
            None if counts.bin is None else counts.bin[rows].astype(np.intp),
            counts.pixels[rows],
        )
        yield _tally(part, rule, labelled[chosen], thresholds)


def _tally(counts: Counts, rule: Rule, labelled: np.ndarray, thresholds: int) -> Tally:
    images, classes = labelled.shape
    truth, predicted = counts.truth, counts.predicted
    scored = counts.image >= 0
    if rule.void == "out":
        scored &= truth < classes
    if rule.predicted_255 == "out":
        scored &= predicted != IGNORE
    truth = np.where(truth == classes, 0, truth)
    predicted = np.where(predicted == IGNORE, classes if rule.predicted_255 == "wrong" else 0, predicted)
    if rule.labels == "known" and counts.bin is None:
        known = labelled[counts.image, np.minimum(predicted, classes - 1)] | (predicted == classes)
        predicted = np.where(known, predicted, 0)
    image, truth, predicted = counts.image[scored], truth[scored], predicted[scored]
    pixels = counts.pixels[scored]

    def summed(where: np.ndarray | slice, bins: np.ndarray | None = None) -> np.ndarray:
        """Pixels by image, predicted class (with one more that is no class) and bin, of the rows at `where`."""
        shape = (images, classes + 1) if bins is None else (images, classes + 1, thresholds + 1)
        index = (image[where], predicted[where], *(() if bins is None else (bins[where],)))
        flat = np.ravel_multi_index(index, shape)
        return np.bincount(flat, pixels[where], int(np.prod(shape))).reshape(shape)

    true = np.bincount(image * classes + truth, pixels, images * classes).reshape(1, images, classes)
    if counts.bin is None:
        found = [summed(where)[None, :, :classes] for where in (slice(None), truth == predicted)]
        return Tally(true, found[0], found[1])
    bins = counts.bin[scored]
    objects = predicted > 0
    above, right = (
        counts_above(summed(w, bins))[..., :classes] for w in (objects, objects & (truth == predicted))
    )
    alarms = counts_above(summed(objects & (truth == 0), bins)).sum(-1)
    above[..., 0], right[..., 0] = true.sum(-1) - above.sum(-1), true[..., 0] - alarms
    return Tally(true, above, right)


def class_iou(tally: Tally, absent: str) -> np.ndarray:
    """IoU (..., C + 1) of tallies; NaN where a class is no part of the mean. absent: as `Rule`'s."""
    union = tally.true + tally.predicted - tally.both
    iou = np.divide(tally.both, union, out=np.full(union.shape, np.nan), where=union > 0)
    if absent == "out":
        return np.where(tally.true > 0, iou, np.nan)
    return iou if absent == "predicted" else np.where(union > 0, iou, float(absent == "one"))


def mean_ious(parts: Iterator[Tally]) -> dict[tuple[str, str, str], np.ndarray]:
    """(mean, absent, background) of a rule -> mIoU (K,) at each threshold; NaN where nothing is scored."""
    sums: list[np.ndarray] = []
    of_images: dict[tuple[str, str], list[np.ndarray]] = {}
    of_classes: dict[str, list[np.ndarray]] = {}

    def add(total: list[np.ndarray], *values: np.ndarray) -> None:
        total[:] = [a + b for a, b in zip(total, values, strict=True)] if total else list(values)

    for tally in parts:
        add(sums, *(each.sum(1) for each in (tally.true, tally.predicted, tally.both)))
        for absent in ABSENT:
            iou = class_iou(tally, absent)
            add(of_classes.setdefault(absent, []), np.nansum(iou, 1), (~np.isnan(iou)).sum(1))
            for background in BACKGROUND:
                mean = _mean(iou, background)
                there = ~np.isnan(mean)
                add(of_images.setdefault((absent, background), []), np.nansum(mean, 1), there.sum(1))
    found = {}
    for absent, background in product(ABSENT, BACKGROUND):
        found["summed", absent, background] = _mean(class_iou(Tally(*sums), absent), background)
        found["image", absent, background] = _ratio(*of_images[absent, background])
        found["class", absent, background] = _mean(_ratio(*of_classes[absent]), background)
    return found


def _mean(iou: np.ndarray, background: str) -> np.ndarray:
    """Mean over the classes that count: (..., C + 1) -> (...); NaN where there is none."""
    part = iou if background == "in" else iou[..., 1:]
    return _ratio(np.nansum(part, -1), (~np.isnan(part)).sum(-1))


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@dataclass(frozen=True)
class Scored:
    """A rule's score. value: mIoU, a fraction; differs: from the base; images: scored; threshold: of CAMs"""

    rule: Rule
    value: float
    differs: tuple[str, ...]
    images: int
    threshold: float | None = None


def score_all(
    base: Rule,
    choices: Mapping[str, Sequence[str]],
    views: Mapping[tuple[str, str, str], Counts],
    lists: Mapping[str, np.ndarray],
    labelled: np.ndarray,
    thresholds: Mapping[str, np.ndarray],
) -> list[Scored]:
    """The scores of every rule that differs from the base in at most `MOST` things, the base first.

    choices: field of `Rule` -> values, of the fields that can make a difference
    views: (size, crf, labels) -> counts; a rule without its view is left out. Where no view has its labels known,
           they are made known by turning what is predicted outside them into background
    lists: name -> (N,) whether an image is in it
    thresholds: ORACLE and FIXED -> grid (K,) of a CAM's thresholds, NaN where it is not to be chosen; {} for label maps
    """
    found = []
    for values in product(*(choices.get(name, (getattr(base, name),)) for name in COUNTED)):
        counted = replace(base, **dict(zip(COUNTED, values)))
        if len(counted.differs(base)) > MOST:
            continue
        view = views.get((counted.size, counted.crf, counted.labels))
        if view is None and counted.labels == "known" and not any(key[2] == "known" for key in views):
            view = views.get((counted.size, counted.crf, "unknown"))
        if view is None:
            continue
        kept = lists[counted.images]
        grid = next(iter(thresholds.values()), np.zeros(1))
        scores = mean_ious(tallies(view, counted, kept, labelled, len(grid)))
        for (mean, absent, background), chosen in product(scores, thresholds or {"": grid}):
            rule = replace(counted, mean=mean, absent=absent, background=background, threshold=chosen)
            differs = rule.differs(base)
            curve = scores[mean, absent, background]
            if len(differs) > MOST or np.all(np.isnan(curve)):
                continue
            if len(curve) == 1:  # label maps, and CAMs after a CRF
                found.append(Scored(rule, float(curve[0]), differs, int(kept.sum())))
                continue
            allowed = np.where(np.isnan(thresholds[chosen]), np.nan, curve)
            best = int(np.nanargmax(allowed))
            found.append(
                Scored(rule, float(allowed[best]), differs, int(kept.sum()), float(thresholds[chosen][best]))
            )
    return distinct(sorted(found, key=lambda each: len(each.differs)), base)


def distinct(scored: Sequence[Scored], base: Rule) -> list[Scored]:
    """Those whose every difference matters: without it, the score is another. Fewer differences come first."""
    value = {each.rule: each.value for each in scored}

    def matters(each: Scored) -> bool:
        simpler = [replace(each.rule, **{name: getattr(base, name)}) for name in each.differs]
        if each.rule.absent in ("zero", "one"):  # where every absent class is predicted, this is the same
            simpler.append(replace(each.rule, absent="predicted"))
        return all(rule not in value or abs(value[rule] - each.value) > 1e-9 for rule in simpler)

    return [each for each in scored if matters(each)]
