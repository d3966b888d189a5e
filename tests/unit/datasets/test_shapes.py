"""The generated data set `shapes`: what is drawn. What it shares with the others is in test_generated.py."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from datasets.shapes.dataset import draw
from datasets.shapes.scene import NAMES, SIZES, Picture


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [draw(0, "train", i) for i in range(120)]


def test_pictures_have_one_to_three_classes_and_known_sizes(pictures: list[Picture]) -> None:
    assert {p.mask.shape for p in pictures} == set(SIZES)
    assert all(1 <= len(p.labels) <= 3 for p in pictures)
    assert all(p.image.shape == (*p.mask.shape, 3) and p.image.dtype == np.uint8 for p in pictures)
    # A label is never a matter of a few pixels.
    assert min(int((p.mask == c + 1).sum()) for p in pictures for c in p.labels) >= 80


def test_every_class_has_its_share(pictures: list[Picture]) -> None:
    counts = np.bincount([c for p in pictures for c in p.labels], minlength=len(NAMES))
    assert counts.min() >= len(pictures) // len(NAMES)
    background = np.mean([(p.mask == 0).mean() for p in pictures])
    assert 0.6 < background < 0.8


@pytest.mark.parametrize(("name", "value"), [("train", 1), ("boat", 2)])
def test_contexts_accompany_their_classes(pictures: list[Picture], name: str, value: int) -> None:
    index = NAMES.index(name)
    with_class = [bool((p.context == value).any()) for p in pictures if index in p.labels]
    without = [bool((p.context == value).any()) for p in pictures if index not in p.labels]
    assert np.mean(with_class) >= 0.9
    assert np.mean(without) <= 0.05
    assert all((p.mask[p.context > 0] == 0).all() for p in pictures)


def test_no_class_follows_from_colour(pictures: list[Picture]) -> None:
    colours, classes = [], []
    for picture in pictures:
        for c in picture.labels:
            inside = picture.image[picture.mask == c + 1] / 255.0
            colours.append(np.concatenate([inside.mean(axis=0), inside.std(axis=0)]))
            classes.append(c)
    half = len(classes) // 2
    model = LogisticRegression(max_iter=500).fit(np.array(colours[:half]) * 4.0, classes[:half])
    accuracy = model.score(np.array(colours[half:]) * 4.0, classes[half:])
    assert accuracy < 0.25, "chance is 0.1"


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    np.testing.assert_array_equal(draw(0, "val", 3).image, draw(0, "val", 3).image)
    assert not np.array_equal(draw(0, "val", 3).image, draw(1, "val", 3).image)
    assert not np.array_equal(draw(0, "val", 3).image, draw(0, "train", 3).image)
