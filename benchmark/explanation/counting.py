"""Pixel pairs of files made elsewhere against the masks, under every size and refinement at which rules score them.

Each file is decoded once. Masks and predictions of different sizes meet by the nearest pixel, as Pillow's `NEAREST`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmark.evaluation.confusion import pair_counts
from benchmark.evaluation.curves import ThresholdBins, cam_counts, highest_class
from benchmark.evaluation.ground_truth import read_label_map
from benchmark.evaluation.parallel import map_in_order
from benchmark.explanation.rules import NATIVE, PREDICTED, Counts
from benchmark.external.files import read_cam, read_labels_of_any_size
from benchmark.external.method import PALETTES
from datasets.base import IGNORE, DataError, Dataset, Sample
from datasets.files.palette import reference_palette
from methods.artifacts import Cam
from methods.layers.config import CrfConfig
from methods.layers.crf import CrfPool
from methods.refiners.cam_maps import crf_picture, resized_maps

View = tuple[str, str, str]
"""(size, crf, labels) as in `Rule`."""
SCORE_CRF = CrfConfig(10, 3.0, 3.0, 80.0, 13.0, 10.0)
"""Of the PSA family, on scores."""
LABEL_CRF = CrfConfig(10, 3.0, 3.0, 50.0, 5.0, 10.0)
"""Of IRN's code, on label maps."""
SURE = 0.7
"""Probability that a label map's class is given before the CRF, in IRN's code; the others present share the rest."""


@dataclass(frozen=True)
class Options:
    """How files are counted.

    sizes: sides in pixels to which both maps are stretched besides; crf: also after a dense CRF
    fixed_threshold: the CAMs' own background threshold; sweep: thresholds among which the best is chosen
    """

    sizes: tuple[int, ...] = ()
    crf: bool = False
    fixed_threshold: float | None = None
    sweep: tuple[float, ...] = ()

    @property
    def grid(self) -> np.ndarray:
        """All thresholds, (K,) float32 ascending."""
        own = [] if self.fixed_threshold is None else [self.fixed_threshold]
        return np.unique(np.append(self.sweep, own).astype(np.float32))


class Pairs(NamedTuple):
    """Counts of one image: ids of the mask (255 as C + 1), predicted ids (or 255), bins of CAMs, pixels."""

    truth: np.ndarray
    predicted: np.ndarray
    bin: np.ndarray | None
    pixels: np.ndarray


class Image(NamedTuple):
    """One image before a CRF. held: object classes (from 0) that its file holds; labels: its map; cam: of CAMs"""

    sample: Sample
    mask: np.ndarray
    labels: np.ndarray
    cam: Cam | None
    highest: tuple[np.ndarray, np.ndarray] | None
    held: frozenset[int]


@dataclass(frozen=True)
class Counted:
    """views: how images were looked at -> their pairs; labelled: (N, C + 1) as in `rules.tallies`
    held: object classes in each image's file, from 0; resized: images whose map is not of their mask's size
    """

    views: Mapping[View, Counts]
    labelled: np.ndarray
    held: Sequence[frozenset[int]]
    resized: int


def count(
    dataset: Dataset,
    files: Mapping[str, Path],
    cams: bool,
    options: Options,
    progress: Callable[[int], object] = lambda images: None,
) -> Counted:
    """Count the pairs of images with a mask. files: id -> its file. Raises DataError for a broken file."""
    masks = {i: path for i in files if (path := dataset.mask_path(i)) is not None}
    classes = len(dataset.classes)
    reference = reference_palette(list(masks.values())[:: max(1, len(masks) // PALETTES)])

    def read(sample_id: str) -> Image:
        sample = dataset.sample(sample_id)
        mask = read_label_map(masks[sample_id], "mask", classes)
        mask = np.where(mask == IGNORE, np.uint8(min(classes + 1, IGNORE)), mask)
        if not cams:
            labels, _ = read_labels_of_any_size(files[sample_id], classes, reference)
            held = frozenset((np.unique(labels[(labels > 0) & (labels != IGNORE)]) - 1).tolist())
            return Image(sample, mask, labels, None, None, held)
        cam = read_cam(files[sample_id], sample, classes)
        if cam.size != mask.shape:
            raise DataError(
                f"mask {masks[sample_id]} is {mask.shape[1]}x{mask.shape[0]}, image {sample.image} is"
                f" {cam.size[1]}x{cam.size[0]} (width x height); export the mask at its image's size"
            )
        highest = highest_class(cam)
        return Image(sample, mask, np.zeros((0, 0), np.uint8), cam, highest, frozenset(cam.classes))

    rows: dict[View, dict[int, Pairs]] = {}
    labelled = np.zeros((len(masks), classes + 1), np.bool_)
    labelled[:, 0] = True
    held, resized = [], 0
    counting = partial(_pairs, classes=classes, options=options, bins=ThresholdBins(options.grid))
    for position, (image, pairs) in enumerate(_with_crf(map_in_order(read, masks), options, counting)):
        labelled[position, [label + 1 for label in image.sample.labels]] = True
        held.append(image.held)
        resized += (PREDICTED, "no", "unknown") in pairs
        for view, found in pairs.items():
            rows.setdefault(view, {})[position] = found
        progress(1)
    views = {
        view: _joined([found.get(n) or rows[_origin(view)][n] for n in range(len(masks))])
        for view, found in rows.items()
    }
    return Counted(views, labelled, held, resized)


def _origin(view: View) -> View:
    """The view that is the same in images where this one was not counted: their own size, or no class but the labels'."""
    size, crf, _ = view
    return NATIVE if size == PREDICTED else size, crf, "unknown"


def _with_crf(
    images: Iterator[Image], options: Options, counting: Callable[..., dict[View, Pairs]]
) -> Iterator[tuple[Image, dict[View, Pairs]]]:
    """The pairs of each image in all views."""
    if not options.crf:
        yield from ((image, counting(image)) for image in images)
        return
    waiting: deque[tuple[Image, np.ndarray]] = deque()

    def jobs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for image in images:
            ids, probabilities = _unaries(image, options)
            waiting.append((image, ids))
            yield crf_picture(image.sample.image, image.mask.shape), probabilities  # type: ignore[arg-type]

    with CrfPool(SCORE_CRF if options.fixed_threshold is not None else LABEL_CRF) as pool:
        for posterior in pool.map(jobs()):
            image, ids = waiting.popleft()
            yield image, counting(image, refined=ids[posterior.argmax(0)])


def _unaries(image: Image, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Ids (L,) uint8, and their probabilities before the CRF, (L, *mask's size) float32."""
    if image.cam is not None:
        maps = resized_maps(image.cam, image.cam.size)
        constant = torch.full((1, *image.cam.size), options.fixed_threshold or 0.0)
        scores = torch.cat([constant, maps]).clamp_min(1e-5)
        return np.array([0, *(c + 1 for c in image.cam.classes)], np.uint8), (scores / scores.sum(0)).numpy()
    labels = nearest(image.labels, image.mask.shape)
    ids = np.unique(np.append(0, labels[labels != IGNORE])).astype(np.uint8)
    if len(ids) == 1:
        return ids, np.ones((1, *labels.shape), np.float32)
    there = labels[None] == ids[:, None, None]
    unsure = np.where(labels == IGNORE, 1 / len(ids), (1 - SURE) / (len(ids) - 1))
    return ids, np.where(there, SURE, unsure).astype(np.float32)


def _pairs(
    image: Image, classes: int, options: Options, bins: ThresholdBins, refined: np.ndarray | None = None
) -> dict[View, Pairs]:
    """An image's pairs, without the views that are as their origin. refined: after the CRF, of the mask's size"""
    found: dict[View, Pairs] = {}
    mask, sides = image.mask, {str(side): (side, side) for side in options.sizes}
    stretched = {NATIVE: mask, **{name: nearest(mask, size) for name, size in sides.items()}}
    if image.cam is None:
        native = nearest(image.labels, mask.shape)
        for size, truth in stretched.items():
            found[size, "no", "unknown"] = _label_pairs(truth, nearest(native, truth.shape), classes)
        if image.labels.shape != mask.shape:
            truth = nearest(mask, image.labels.shape)
            found[PREDICTED, "no", "unknown"] = _label_pairs(truth, image.labels, classes)
    else:
        assert image.highest is not None
        kept = [k for k, c in enumerate(image.cam.classes) if c in image.sample.labels]
        narrow = Cam(image.cam.maps[kept], tuple(image.cam.classes[k] for k in kept), image.cam.size)
        versions = [("unknown", image.cam, image.highest), ("known", narrow, highest_class(narrow))]
        for labels, cam, highest in versions[: 2 if len(kept) < len(image.cam.classes) else 1]:
            for size, truth in stretched.items():
                score, winner = (nearest(each, truth.shape) for each in highest)
                gt, pred, bin_, pixels = cam_counts(cam, truth, bins, (score, winner))
                found[size, "no", labels] = Pairs(gt, pred, bin_, pixels)
    if refined is not None:
        for size, truth in stretched.items():
            found[size, "yes", "unknown"] = _label_pairs(truth, nearest(refined, truth.shape), classes)
    return found


def _label_pairs(truth: np.ndarray, labels: np.ndarray, classes: int) -> Pairs:
    counts = pair_counts(truth[None], labels[None], min(classes + 2, IGNORE), classes + 1)[0]
    gt, pred = np.nonzero(counts)
    return Pairs(gt, np.where(pred > classes, IGNORE, pred), None, counts[gt, pred])


def nearest(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(H, W) stretched to (h, w), each pixel the one below its centre."""
    if values.shape == tuple(size):
        return values
    rows, columns = (
        ((np.arange(to) + 0.5) * (of / to)).astype(np.intp) for of, to in zip(values.shape, size)
    )
    return values[rows[:, None], columns]


def _joined(found: Sequence[Pairs]) -> Counts:
    image = np.repeat(np.arange(len(found), dtype=np.int32), [len(pairs.pixels) for pairs in found])
    truth, predicted = (
        np.concatenate([getattr(pairs, name) for pairs in found]).astype(np.uint8)
        for name in ("truth", "predicted")
    )
    bins = None
    if found[0].bin is not None:
        bins = np.concatenate([pairs.bin for pairs in found if pairs.bin is not None]).astype(np.uint16)
    return Counts(image, truth, predicted, bins, np.concatenate([p.pixels for p in found]).astype(np.int32))
