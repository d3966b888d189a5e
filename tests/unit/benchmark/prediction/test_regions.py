"""Regions of label maps, measured, and what they make of an image."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.prediction.regions import OK, find_regions, verdict

CLASSES = ("dent", "rust")


def test_regions_are_measured() -> None:
    labels = np.zeros((6, 8), np.uint8)
    labels[1:3, 1:4] = 1
    labels[3, 4] = 1  # touches by a corner
    labels[5, 7] = 1
    labels[0, 7] = 2
    labels[5, 0] = 255
    scores = np.zeros((2, 6, 8), np.float32)
    scores[0, 1:3, 1:4], scores[0, 3, 4], scores[1, 0, 7] = 0.5, 0.85, 0.9
    found = find_regions(labels, scores, CLASSES)
    assert [(r.name, r.box, r.area) for r in found] == [
        ("dent", (1, 1, 4, 3), 7), ("dent", (7, 5, 1, 1), 1), ("rust", (7, 0, 1, 1), 1)
    ]  # fmt: skip
    assert found[0].score == pytest.approx(3.85 / 7)
    assert found[0].centroid == pytest.approx((16 / 7, 12 / 7))
    assert found[2].score == pytest.approx(0.9)
    assert [r.area for r in find_regions(labels, scores, CLASSES, min_area=2)] == [7]


def test_scores_are_stretched_to_the_labels() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 2
    scores = np.zeros((2, 2, 2), np.float32)
    scores[1, :, 1] = 1
    (found,) = find_regions(labels, scores, CLASSES)
    assert 0.8 < (found.score or 0) < 1  # less towards the other half
    assert find_regions(labels, None, CLASSES)[0].score is None


def test_the_verdict_is_of_the_class_with_most_pixels() -> None:
    labels = np.zeros((4, 8), np.uint8)
    labels[0, :3], labels[2, ::2] = 1, 2
    scores = np.full((2, 4, 8), 0.25, np.float32)
    scores[0, 0, 0] = 0.75
    found = find_regions(labels, scores, CLASSES)
    assert (verdict(found, scores).name, verdict(found, scores).score) == ("rust", 0.75)
    assert verdict([], scores).name == OK
    assert verdict([], None).score is None
