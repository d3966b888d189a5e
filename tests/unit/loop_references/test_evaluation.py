"""Counts, scores and threshold rules, in loops."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from benchmark.evaluation.confusion import (
    extend_with_context,
    fold_ignored,
    merge_context,
    pair_counts,
)
from benchmark.evaluation.curves import (
    ThresholdBins,
    cam_counts,
    highest_class,
    matrices_at_thresholds,
    threshold_grid,
)
from benchmark.evaluation.evaluator import Scores, held_out_ids, score_cams, score_label_maps
from benchmark.evaluation.scores import (
    class_iou,
    confusion_ratios,
    mean_iou,
    pixel_accuracy,
    precision,
    recall,
)
from datasets.base import ContextClass, Dataset, Problem, Sample
from methods.artifacts import Cam, label_map_path, write_cams
from tests.unit.loop_references.shared import SEEDS, bilinear_loop, close, pseudo_labels_loop

CLASSES = ("ash", "birch", "cedar", "dogwood")
CONTEXTS = (ContextClass("moss", 0, 3), ContextClass("rock", 2, 5), ContextClass("rock", 1, 5))
"""Two object classes share a region; dogwood never occurs."""

Counts = dict[tuple[int, int], int]
"""(ground truth, prediction) -> pixels, both 0..C."""


def count_loop(truth: np.ndarray, prediction: np.ndarray, counts: Counts) -> None:
    """Add one image's pixels. 255 in the truth is ignored, predicted 255 is background."""
    for y, x in np.ndindex(truth.shape):
        if truth[y, x] != 255:
            predicted = 0 if prediction[y, x] == 255 else int(prediction[y, x])
            key = (int(truth[y, x]), predicted)
            counts[key] = counts.get(key, 0) + 1


def scores_loop(counts: Counts, classes: int) -> dict[str, list[float]]:
    """Per-class scores over `classes` ids, NaN where undefined, and the two means."""
    out: dict[str, list[float]] = {"iou": [], "precision": [], "recall": []}
    for c in range(classes):
        hit = counts.get((c, c), 0)
        of_class = sum(n for (t, _), n in counts.items() if t == c)
        predicted = sum(n for (_, p), n in counts.items() if p == c)
        union = of_class + predicted - hit
        out["iou"].append(hit / union if of_class else math.nan)
        out["precision"].append(hit / predicted if predicted else math.nan)
        out["recall"].append(hit / of_class if of_class else math.nan)
    kept = [v for v in out["iou"] if not math.isnan(v)]
    out["miou"] = [sum(kept) / len(kept) if kept else math.nan]
    pixels = sum(counts.values())
    out["pixel_accuracy"] = [
        sum(n for (t, p), n in counts.items() if t == p) / pixels if pixels else math.nan
    ]
    return out


def confusion_ratio_loop(
    truths: Sequence[np.ndarray],
    contexts: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    of: ContextClass,
) -> float:
    """m_{k,c} = FP_{k,c} / TP_c: region k predicted as c, over c predicted right."""
    false, true = 0, 0
    for truth, context, prediction in zip(truths, contexts, predictions, strict=True):
        for at in np.ndindex(truth.shape):
            if prediction[at] == of.object_class + 1:
                false += bool(truth[at] == 0 and context[at] == of.value)
                true += bool(truth[at] == of.object_class + 1)
    return false / true if true else math.nan


def random_maps(seed: int, ids: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).choice(ids, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("truth_ids", "prediction_ids"),
    [
        ((0, 1, 2, 255), (0, 1, 2)),
        ((0, 1, 2, 255), (0, 1, 3, 255)),  # 2 never predicted, 3 predicted but absent, 4 in neither
        ((1, 255), (0, 255)),
        ((0,), (0,)),
        ((255,), (0, 1)),  # nothing to score
        ((0, 1, 2, 3, 4), (4,)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_scores(seed: int, truth_ids: tuple[int, ...], prediction_ids: tuple[int, ...]) -> None:
    truth, prediction = (
        random_maps(seed, truth_ids, (3, 5, 7)),
        random_maps(seed + 100, prediction_ids, (3, 5, 7)),
    )
    pairs = pair_counts(truth, prediction, 5, 5)
    matrices = fold_ignored(pairs)
    together: Counts = {}
    for n in range(3):
        counts: Counts = {}
        count_loop(truth[n], prediction[n], counts)
        count_loop(truth[n], prediction[n], together)
        for t, p in np.ndindex(5, 5):
            assert matrices[n, t, p] == counts.get((t, p), 0)
        ignored = sum(int(truth[n][at] != 255 and prediction[n][at] == 255) for at in np.ndindex(5, 7))
        assert pairs[n, :, -1].sum() == ignored
    matrix = matrices.sum(0)
    expected = scores_loop(together, 5)
    close(class_iou(matrix), expected["iou"])
    close(precision(matrix), expected["precision"])
    close(recall(matrix), expected["recall"])
    close(mean_iou(matrix), expected["miou"][0])
    close(pixel_accuracy(matrix), expected["pixel_accuracy"][0])


def test_mean_iou_of_absent_classes() -> None:
    """By hand: a class that the truth lacks is left out, predicted or not."""
    truth = np.array([[[0, 0, 1, 1]]], np.uint8)
    prediction = np.array([[[0, 2, 1, 1]]], np.uint8)
    matrix = fold_ignored(pair_counts(truth, prediction, 4, 4))[0]
    close(class_iou(matrix), [0.5, 1.0, math.nan, math.nan])
    close(mean_iou(matrix), 0.75)


@pytest.mark.parametrize("seed", SEEDS)
def test_confusion_ratio(seed: int) -> None:
    truth = random_maps(seed, (0, 0, 0, 1, 2, 3, 255), (4, 6, 5))
    context = random_maps(seed + 1, (0, 3, 5, 9), (4, 6, 5))
    prediction = random_maps(seed + 2, (0, 1, 2, 3, 255), (4, 6, 5))
    if seed == 0:
        prediction[prediction == 3] = 0  # no true positive of cedar: undefined
    extended = np.stack([extend_with_context(t, c, CONTEXTS, 4) for t, c in zip(truth, context, strict=True)])
    total = fold_ignored(pair_counts(extended, prediction, 5 + len(CONTEXTS), 5)).sum(0)
    expected = [confusion_ratio_loop([*truth], [*context], [*prediction], of) for of in CONTEXTS]
    close(confusion_ratios(total, CONTEXTS, 4), expected)
    plain = fold_ignored(pair_counts(truth, prediction, 5, 5)).sum(0)
    np.testing.assert_array_equal(merge_context(total, 4), plain)


def test_threshold_grid_and_bins() -> None:
    thresholds = threshold_grid(0.01, 0.2, 0.255, 1.0)
    assert thresholds.dtype == np.float32
    expected = sorted({float(np.float32(i / 100)) for i in range(101)} | {float(np.float32(0.255))})
    close(thresholds, expected)
    assert len(thresholds) == 102
    bins = ThresholdBins(thresholds)
    rng = np.random.default_rng(0)
    scores = [np.float32(0), np.float32(1), *rng.random(200, dtype=np.float32)]
    for t in thresholds:
        scores += [t, np.nextafter(t, np.float32(0)), min(np.nextafter(t, np.float32(2)), np.float32(1))]
    below = [sum(float(t) < float(score) for t in thresholds) for score in scores]
    np.testing.assert_array_equal(bins(np.array(scores, np.float32)), below)


def random_cam(seed: int, count: int, *, exact: bool) -> Cam:
    """Maps of up to four classes; `exact`: quarters, doubled in size, so that ties are ties."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 5, (count, 3, 4)) / 4 if exact else rng.random((count, 3, 4))
    size = (6, 8) if exact else (7, 9)
    return Cam(maps.astype(np.float16), tuple(rng.permutation(3)[:count].tolist()), size)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_cam_curve(seed: int, exact: bool) -> None:
    cam = random_cam(seed, seed % 4, exact=exact)
    truth = random_maps(seed, (0, 1, 2, 3, 255), cam.size)
    thresholds = threshold_grid(0.25 if exact else 0.05)
    bins = ThresholdBins(thresholds)
    counted = cam_counts(cam, truth, bins)
    histogram = np.zeros((5, 5, len(thresholds) + 1), np.int64)
    for t, p, b, n in zip(*counted, strict=True):
        histogram[t, p, b] += n
    assert histogram.sum() == sum(int(v != 255) for v in truth.flat)
    matrices = matrices_at_thresholds(histogram)
    for j, threshold in enumerate(thresholds):
        prediction = np.array(pseudo_labels_loop(cam.maps, cam.classes, cam.size, float(threshold)))
        counts: Counts = {}
        count_loop(truth, prediction, counts)
        for t, p in np.ndindex(5, 5):
            assert matrices[j, t, p] == counts.get((t, p), 0), (j, t, p)
        close(mean_iou(matrices[j]), scores_loop(counts, 5)["miou"][0])


@pytest.mark.parametrize("seed", SEEDS)
def test_highest_class(seed: int) -> None:
    cam = random_cam(seed, 3, exact=seed % 2 == 1)
    score, position = highest_class(cam)
    enlarged = [bilinear_loop(m.astype(np.float64).tolist(), cam.size) for m in cam.maps]
    for y, x in np.ndindex(cam.size):
        values = [m[y][x] for m in enlarged]
        close(score[y, x], max(values))
        assert position[y, x] == values.index(max(values))


class TinyDataset(Dataset):
    """Random masks and context maps in a folder."""

    name = "tiny"
    summary = needs = "none"
    classes = CLASSES
    contexts = CONTEXTS

    def __init__(
        self, root: Path, truths: Mapping[str, np.ndarray], regions: Mapping[str, np.ndarray]
    ) -> None:
        self.root, self.truths, self.regions = root, truths, regions
        for part, maps in (("masks", truths), ("contexts", regions)):
            (root / part).mkdir()
            for i, values in maps.items():
                Image.fromarray(values).save(root / part / f"{i}.png")

    def prepare(self) -> None: ...

    def ids(self, split: str) -> tuple[str, ...]:
        return tuple(self.truths)

    def sample(self, sample_id: str) -> Sample:
        return Sample(sample_id, self.root / f"{sample_id}.jpg", (0, 1, 2))

    def mask_path(self, sample_id: str) -> Path:
        return self.root / "masks" / f"{sample_id}.png"

    def context_path(self, sample_id: str) -> Path:
        return self.root / "contexts" / f"{sample_id}.png"

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return "tiny"

    def problems(self) -> Sequence[Problem]:
        return ()


def tiny_dataset(root: Path, count: int = 8) -> TinyDataset:
    ids = [f"image-{i}" for i in range(count)]
    size = (7, 9)
    truths = {i: random_maps(n, (0, 0, 0, 1, 2, 3, 255), size) for n, i in enumerate(ids)}
    regions = {i: random_maps(n + 50, (0, 3, 5, 9), size) for n, i in enumerate(ids)}
    return TinyDataset(root, truths, regions)


def rows_of(scores: Scores, variant: str) -> dict[tuple[str, str], float]:
    return {(r.metric, r.class_name): r.value for r in scores.rows if r.variant == variant}


def require_rows(
    found: Mapping[tuple[str, str], float], data: TinyDataset, labels: Mapping[str, np.ndarray]
) -> None:
    """Compare every score of one variant with the references over the images in `labels`."""
    counts: Counts = {}
    for i, prediction in labels.items():
        count_loop(data.truths[i], prediction, counts)
    expected = scores_loop(counts, 5)
    for metric in ("miou", "pixel_accuracy"):
        close(found[metric, ""], expected[metric][0])
    for metric in ("iou", "precision", "recall"):
        close([found[metric, name] for name in ("background", *CLASSES)], expected[metric])
    truths, regions = [data.truths[i] for i in labels], [data.regions[i] for i in labels]
    for of in CONTEXTS:
        ratio = confusion_ratio_loop(truths, regions, list(labels.values()), of)
        close(found["confusion_ratio", f"{CLASSES[of.object_class]}|{of.name}"], ratio)


def held_out_loop(ids: Sequence[str], fraction: float) -> set[str]:
    """The ids with the smallest SHA-256, one at least and one at least left over."""
    count = min(max(round(fraction * len(ids)), 1), len(ids) - 1)
    chosen: set[str] = set()
    while len(chosen) < count:
        chosen.add(
            min((i for i in ids if i not in chosen), key=lambda i: hashlib.sha256(i.encode()).hexdigest())
        )
    return chosen


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.37, 0.99])
def test_held_out_part(fraction: float) -> None:
    ids = [f"{n:05d}" for n in range(13)]
    assert set(held_out_ids(ids, fraction)) == held_out_loop(ids, fraction)
    assert held_out_ids(ids[::-1], fraction) == held_out_ids(ids, fraction)


def miou_at(data: TinyDataset, cams: Mapping[str, Cam], ids: Sequence[str], threshold: float) -> float:
    counts: Counts = {}
    for i in ids:
        labels = pseudo_labels_loop(cams[i].maps, cams[i].classes, cams[i].size, threshold)
        count_loop(data.truths[i], np.array(labels), counts)
    return scores_loop(counts, 5)["miou"][0]


def best_threshold(score: Callable[[float], float], thresholds: Sequence[float]) -> float:
    """The lowest of the thresholds with the best score."""
    best, best_score = math.nan, -math.inf
    for threshold in thresholds:
        value = score(threshold)
        if value > best_score:
            best, best_score = threshold, value
    return best


@pytest.mark.parametrize("count", [3, 8])
def test_threshold_rules(tmp_path: Path, count: int) -> None:
    """Fixed, tuned and oracle thresholds and the curve, on images of which one has no class at all."""
    data = tiny_dataset(tmp_path, count)
    ids = data.ids("train")
    cams = {i: random_cam(n + 10 * count, n % 4, exact=False) for n, i in enumerate(ids)}
    artifact = tmp_path / "cams"
    artifact.mkdir()
    write_cams(artifact / "part.safetensors", cams)
    scores = score_cams(
        artifact,
        data,
        "train",
        0.33,
        counts_path=tmp_path / "c.parquet",
        step=0.05,
        sweep_max=0.55,
        workers=1,
    )

    thresholds = [n / 20 for n in range(12)]
    curve = [(r.threshold, r.value) for r in scores.rows if r.variant == "curve"]
    close([t for t, _ in curve], thresholds)
    close([v for _, v in curve], [miou_at(data, cams, ids, t) for t in thresholds])

    tuning = sorted(held_out_loop(ids, 0.2))
    rest = [i for i in ids if i not in tuning]
    rules = {
        "fixed": (0.33, ids),
        "tuned": (best_threshold(lambda t: miou_at(data, cams, tuning, t), thresholds), rest),
        "oracle": (best_threshold(lambda t: miou_at(data, cams, ids, t), thresholds), ids),
    }
    for variant, (threshold, scored) in rules.items():
        found = rows_of(scores, variant)
        close(found["threshold", ""], threshold)
        labels = {
            i: np.array(pseudo_labels_loop(cams[i].maps, cams[i].classes, cams[i].size, threshold))
            for i in scored
        }
        require_rows(found, data, labels)
        rows = [r for r in scores.rows if r.variant == variant and not r.metric.startswith("miou_by")]
        assert {r.images for r in rows} == {len(scored)}
    assert rows_of(scores, "tuned")["held_out_images", ""] == len(tuning)


SWEEPS = [
    pytest.param(0.01, 60, id="published"),
    pytest.param(0.02, 30, id="even"),
    pytest.param(0.25, 3, id="coarse"),
    pytest.param(
        0.05,
        12,
        id="past-the-end",
    ),
]


@pytest.mark.parametrize(("step", "count"), SWEEPS)
def test_sweep(tmp_path: Path, step: float, count: int) -> None:
    """From 0 in steps, never above .59."""
    data = tiny_dataset(tmp_path, 2)
    artifact = tmp_path / "cams"
    artifact.mkdir()
    write_cams(
        artifact / "part.safetensors", {i: random_cam(n, 2, exact=False) for n, i in enumerate(data.truths)}
    )
    scores = score_cams(
        artifact, data, "train", None, counts_path=tmp_path / "c.parquet", step=step, workers=1
    )
    close([r.threshold for r in scores.rows if r.variant == "curve"], [n * step for n in range(count)])
    assert not rows_of(scores, "fixed")


def test_label_map_scores(tmp_path: Path) -> None:
    data = tiny_dataset(tmp_path)
    labels = {i: random_maps(n + 90, (0, 0, 1, 2, 3, 255), (7, 9)) for n, i in enumerate(data.ids("train"))}
    (tmp_path / "artifact" / "labels").mkdir(parents=True)
    for i, values in labels.items():
        Image.fromarray(values).save(label_map_path(tmp_path / "artifact", i))
    scores = score_label_maps(
        tmp_path / "artifact",
        data,
        "train",
        stage="pseudo_label",
        counts_path=tmp_path / "c.parquet",
        workers=1,
    )
    require_rows(rows_of(scores, ""), data, labels)
    ignored = 0
    for i, values in labels.items():
        ignored += sum(
            int(values[at] == 255 and data.truths[i][at] != 255) for at in np.ndindex(values.shape)
        )
    assert rows_of(scores, "")["ignored_predictions", ""] == ignored
