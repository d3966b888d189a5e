"""Scores of verdicts and defects of an artifact, by hand on few images; which stage has which."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.evaluation.evaluator import ONLY_VERDICTS, Scores, score_cams, score_label_maps
from benchmark.evaluation.inspection.foreground import (
    IMAGE_SCORES,
    LEVELS,
    SCORES,
    TRAIN_SCORES,
    levels_of,
    map_path,
)
from benchmark.evaluation.inspection.images import true_type
from benchmark.evaluation.inspection.tally import PartTally, part_counts
from benchmark.evaluation.scores import MetricRow
from datasets.files.images import write_labels
from methods.artifacts import Cam, write_cams, write_image_scores
from tests.helpers.evaluation_data import TinyDataset, write_label_maps

CLASSES = ("scratch", "dent")
SIZE = (20, 50)
"""A pixel is .1 % of an image: a defect of one is of medium size."""
LABELS = {"a": (0,), "b": (0, 1), "c": (1,), "good1": (), "good2": ()}
INSPECTED = {"image_auroc", "escapes", "defects_found", "area_error", "aupro", "alarms_per_good_part"}


def drawn(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """A label map with boxes of (class id, top, left, height, width)."""
    labels = np.zeros(SIZE, np.uint8)
    for class_id, top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = class_id
    return labels


MASKS = {
    "a": drawn((1, 2, 2, 1, 10), (1, 10, 10, 1, 1)),
    "b": drawn((1, 2, 2, 4, 5), (2, 10, 30, 2, 2)),
    "c": drawn((2, 4, 4, 1, 5)),
    "good1": drawn(),
    "good2": drawn(),
}
MAPS = {
    "a": drawn((1, 2, 2, 1, 2), (1, 15, 0, 1, 1)),  # a fifth of the long one
    "b": drawn((2, 2, 2, 4, 5), (2, 10, 30, 2, 2)),  # a scratch taken for a dent is found all the same
    "c": drawn(),
    "good1": drawn((1, 0, 0, 1, 3), (2, 5, 5, 2, 2), (2, 9, 9, 1, 1)),
    "good2": drawn(),
}


@pytest.fixture
def dataset(tmp_path: Path) -> TinyDataset:
    return TinyDataset(tmp_path / "data", MASKS, classes=CLASSES, labels=LABELS)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write_label_maps(tmp_path / "maps", MAPS)


def values(scores: Scores) -> dict[tuple[str, str], float]:
    return {(row.metric, row.class_name): row.value for row in scores.rows}


def score(artifact: Path, dataset: TinyDataset, **more: bool) -> Scores:
    counts = artifact.parent / "counts.parquet"
    return score_label_maps(artifact, dataset, "val", stage="segmentation", counts_path=counts, **more)


def test_defects_by_hand(dataset: TinyDataset, artifact: Path) -> None:
    scores = score(artifact, dataset, inspect=True, judge=True)
    found = values(scores)
    assert found["defects_found", ""] == 3 / 5
    assert found["defects_found", "scratch"] == 2 / 3
    assert found["defects_found", "dent"] == 1 / 2
    assert found["defects_found_by_size", "medium"] == 1 / 3  # of one, four and five pixels
    assert found["defects_found_by_size", "large"] == 1
    assert ("defects_found_by_size", "small") not in found
    assert found["alarms_per_good_part", ""] == 1.5
    assert found["area_error", ""] == pytest.approx(8 / 11)  # 3 of 11, 24 of 24, none of 5
    assert found["area_bias", ""] == pytest.approx(27 / 40 - 1)
    assert ("aupro", "") not in found  # there are no score maps
    images = {(row.metric, row.class_name): row.images for row in scores.rows}
    assert images["defects_found", ""] == 5
    assert images["defects_found", "scratch"] == 3
    assert images["alarms_per_good_part", ""] == 2


def test_verdicts_by_hand(dataset: TinyDataset, artifact: Path) -> None:
    found = values(score(artifact, dataset, inspect=True, judge=True))
    assert found["escapes", ""] == pytest.approx(1 / 3)
    assert found["overkill", ""] == 1 / 2
    assert found["escapes", "scratch"] == 0
    assert found["escapes", "dent"] == 1 / 2
    verdicts = {name: value for (metric, name), value in found.items() if metric == "verdicts"}
    assert verdicts == {
        "OK|OK": 0.5, "OK|scratch": 0, "OK|dent": 0.5,
        "scratch|OK": 0, "scratch|scratch": 1, "scratch|dent": 0,
        "dent|OK": 0.5, "dent|scratch": 0, "dent|dent": 0.5,
    }  # fmt: skip
    assert not {metric for metric, _ in found} & {"image_auroc", "escapes_at_overkill", "escapes_calibrated"}


def test_images_of_several_types_are_held_against_the_one_that_is_said() -> None:
    assert [true_type((0, 2), verdict) for verdict in (0, 1, 2, 3)] == [1, 1, 1, 3]
    assert [true_type((), verdict) for verdict in (0, 2)] == [0, 0]


def test_scores_of_images_and_maps(dataset: TinyDataset, artifact: Path) -> None:
    foreground = {i: np.where(MASKS[i], 0.9, 0.1).astype(np.float32) for i in MASKS}
    foreground["c"][:] = 0.2  # seen by its score alone, and worse than the worst good one
    foreground["good1"][0, 0] = 0.3
    for sample_id, values_ in foreground.items():
        write_labels(map_path(artifact, sample_id), levels_of(values_), None)
    for folder, names in ((SCORES, list(MASKS)), (TRAIN_SCORES, ["a", "good1", "good2"])):
        (artifact / folder).mkdir(parents=True)
        kept = {i: np.stack([s(foreground[i][None])[0] for s in IMAGE_SCORES.values()]) for i in names}
        write_image_scores(artifact / folder / "shard.safetensors", kept)
    scores = score(artifact, dataset, inspect=True, judge=True)
    found = values(scores)
    for name in IMAGE_SCORES:
        assert found["image_auroc", name] == pytest.approx(5 / 6)
        assert found["escapes_at_overkill", f"{name}|0.05"] == pytest.approx(1 / 3)
        assert found["overkill_at_escapes", f"{name}|0.05"] == 1 / 2
        assert found["escapes_calibrated", name] == pytest.approx(1 / 3)
        assert found["overkill_calibrated", name] == 0
    threshold = next(row.threshold for row in scores.rows if row.metric == "escapes_calibrated")
    assert threshold == pytest.approx(0.9)
    # four regions are full before any normal pixel; that of c comes with one image of the five, after one pixel
    assert 0.8 < found["aupro", ""] < 1
    assert next(row.images for row in scores.rows if row.metric == "aupro") == 5


def test_verdicts_need_no_masks_and_defects_do(tmp_path: Path, artifact: Path) -> None:
    bare = TinyDataset(tmp_path / "bare", MASKS, classes=CLASSES, labels=LABELS)
    bare.unmasked = tuple(MASKS)
    scores = score(artifact, bare, inspect=True, judge=True)
    assert scores.notes == [ONLY_VERDICTS]
    assert values(scores)["overkill", ""] == 1 / 2
    assert ("defects_found", "") not in values(scores)
    assert scores.counts is None


def test_nothing_of_it_is_scored_unless_asked_for(dataset: TinyDataset, artifact: Path) -> None:
    assert not INSPECTED & {metric for metric, _ in values(score(artifact, dataset))}
    pseudo_labels = {metric for metric, _ in values(score(artifact, dataset, inspect=True))}
    assert pseudo_labels & INSPECTED == {"defects_found", "area_error"}


def test_a_cam_has_scores_of_defects_at_its_own_threshold(tmp_path: Path, dataset: TinyDataset) -> None:
    cams = {
        i: Cam(np.stack([np.where(MASKS[i] == c + 1, 0.8, 0.2) for c in labels]), labels, SIZE)
        if labels
        else Cam(np.zeros((0, *SIZE), np.float16), (), SIZE)
        for i, labels in LABELS.items()
    }
    (tmp_path / "cams").mkdir()
    write_cams(tmp_path / "cams" / "shard.safetensors", cams)
    counts = tmp_path / "counts.parquet"
    scores = score_cams(tmp_path / "cams", dataset, "val", 0.5, counts_path=counts, inspect=True)
    found = {(r.variant, r.metric, r.class_name): r.value for r in scores.rows}
    assert found["fixed", "defects_found", ""] == found["fixed", "aupro", ""] == pytest.approx(1)
    assert found["fixed", "area_error", ""] == 0
    assert {variant for variant, metric, _ in found if metric in INSPECTED} == {"fixed"}
    assert not {metric for _, metric, _ in found} & {"escapes", "alarms_per_good_part", "image_auroc"}


def test_ignored_pixels_count_nowhere() -> None:
    truth, prediction = drawn((1, 2, 2, 1, 10)), drawn((1, 2, 2, 1, 4), (255, 2, 6, 1, 1))
    truth[2, 2:4], truth[10] = 255, 255
    prediction[10] = 2
    tally = PartTally(CLASSES)
    levels = np.zeros(SIZE, np.uint8)
    tally.add(part_counts(truth, prediction, 2, False, levels, LEVELS))
    row = partial(MetricRow, "segmentation", "", "val")
    found = {(r.metric, r.class_name): r.value for r in tally.rows(row)}
    assert found["area_bias", ""] == pytest.approx(2 / 8 - 1)
    assert found["defects_found", ""] == 1
    assert tally.overlap is not None
    assert tally.overlap.normal.sum() == np.prod(SIZE) - 10 - 50
