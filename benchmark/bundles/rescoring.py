"""What of a bundle is scored again where its data set is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.bundles.check import Check, bins_of, named
from benchmark.bundles.contents import Bundle, scored_stages
from benchmark.evaluation.confusion import pair_counts
from benchmark.evaluation.curves import cam_counts
from benchmark.evaluation.ground_truth import GroundTruth
from datasets.base import IGNORE, Dataset


def same_data(bundle: Bundle, dataset: Dataset) -> Check:
    """Lists, images and masks are those of the data set at hand."""
    check = Check("data set, lists, images and masks are those at hand")
    said = bundle.manifest["dataset"]
    if said["name"] != dataset.name or said["classes"] != list(dataset.classes):
        check.faults.append(
            f"made on {said['name']} with {len(said['classes'])} classes, here is {dataset.name}"
        )
        return check
    for split, content in said["splits"].items():
        if content["ids"] != list(dataset.ids(split)):
            check.faults.append(f"{split}: another list of images than the one at hand")
            continue
        for part in ("images", "masks"):
            if content.get(part) != dataset.fingerprint(part, split):  # type: ignore[arg-type]
                check.faults.append(f"{split}: other {part} than those at hand")
    for key, stage in scored_stages(bundle.runs).items():
        if key in bundle.keys("counts"):
            scored = set(bundle.counts(key).images)
            ids = dataset.ids(stage["score"]["split"])
            left_out = [i for i in ids if i not in scored and dataset.mask_path(i) is not None]
            check.faults += named(left_out, f"{stage['name']}: not scored, though there is a mask, is")
    return check


def rescored_maps(bundle: Bundle, dataset: Dataset) -> Check:
    """Label maps scored again have every count."""
    check = Check("label maps, scored again, have the counts")
    truth = GroundTruth(dataset)
    for key, stage in scored_stages(bundle.runs).items():
        if stage["kind"] != "prediction":
            continue
        counts = bundle.counts(key)
        numbers = {image: n for n, image in enumerate(bundle.ids(stage["score"]["split"]))}
        by_image = np.argsort(counts.image, kind="stable")
        ends = np.searchsorted(counts.image[by_image], np.arange(len(counts.images) + 1))
        unlike = []
        for place, image in enumerate(counts.images):
            labels = bundle.label_map(key, numbers[image]) if image in numbers else None
            if labels is None:
                continue
            mask = truth.read(image)
            impossible = (labels >= truth.pred_classes) & (labels != IGNORE)
            if labels.shape != mask.shape or impossible.any():
                unlike.append(image)
                continue
            ours = pair_counts(mask[None], labels[None], truth.gt_classes, truth.pred_classes)[0]
            said = by_image[ends[place] : ends[place + 1]]
            theirs = np.zeros_like(ours)
            column = np.where(counts.pred[said] == IGNORE, truth.pred_classes, counts.pred[said])
            np.add.at(theirs, (counts.gt[said], column), counts.count[said])
            if not np.array_equal(ours, theirs):
                unlike.append(image)
        check.faults += named(unlike, f"{stage['name']}: other counts of")
    return check


def rescored_cams(bundle: Bundle, dataset: Dataset) -> Check:
    """Sampled CAMs scored again have every count."""
    check = Check("sampled CAMs, scored again, have the counts")
    truth = GroundTruth(dataset)
    for key, stage in scored_stages(bundle.runs).items():
        if stage["kind"] != "cam" or key not in bundle.keys("cams"):
            continue
        counts, unlike = bundle.counts(key), []
        if counts.bin is None:
            continue
        bins = bins_of(counts)
        for image, cam in sorted(bundle.cams(key).items()):
            if image not in counts.images or dataset.mask_path(image) is None:
                continue
            mask = truth.read(image)
            if mask.shape != cam.size:
                unlike.append(image)
                continue
            made = cam_counts(cam, mask, bins)
            said = (counts.image == counts.images.index(image)) & (counts.count > 0)
            theirs = (counts.gt[said], counts.pred[said], counts.bin[said], counts.count[said])
            if _rows(made) != _rows(theirs):
                unlike.append(image)
        check.faults += named(unlike, f"{stage['name']}: other counts of")
    return check


def _rows(columns: Sequence[np.ndarray]) -> set[tuple[int, ...]]:
    return set(zip(*(column.tolist() for column in columns)))
