"""The generated blue film: what is drawn, and that defect-free pictures are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from datasets.base import DataError
from datasets.bluefilm.dataset import BlueFilm, BlueFilmConfig
from datasets.bluefilm.defects import NAMES
from datasets.bluefilm.scene import SIZES, Picture, defect_class, render
from datasets.drawing.generated import load_pixels
from tests.conftest import ROOT

SMALL = {"train": 10, "val": 5, "good": 0.2}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [render(0, 0, i) for i in range(100)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> BlueFilm:
    data = BlueFilm(BlueFilmConfig(root=str(tmp_path_factory.mktemp("bluefilm")), **SMALL))
    data.prepare()
    return data


def test_default_counts_are_the_paper_s() -> None:
    film = BlueFilm(BlueFilmConfig())
    classes = [defect_class(0, split, i) for split, count in ((0, 960), (1, 240)) for i in range(count)]
    assert np.bincount(classes).tolist() == [300] * 4
    assert len(film.ids("train")) + len(film.ids("val")) == 1200 + 120


def test_classes_are_those_of_the_word_list() -> None:
    words = yaml.safe_load((ROOT / "methods" / "ca_cl" / "words" / "bluefilm.yaml").read_text())
    assert tuple(words["classes"]) == BlueFilm.classes == NAMES


def test_every_picture_shows_its_class(pictures: list[Picture]) -> None:
    for index, picture in enumerate(pictures):
        assert picture.labels == (defect_class(0, 0, index),)
        assert picture.mask.shape in SIZES
        assert picture.image.shape == (*picture.mask.shape, 3)
        assert 90 <= np.count_nonzero(picture.mask) < 0.25 * picture.mask.size


@pytest.mark.slow
def test_no_defect_of_the_default_set_is_nearly_out_of_the_picture() -> None:
    """All 1 200: none is the one that is taken after twenty draws without enough of it in the frame."""
    drawn = [(split, index) for split, count in ((0, 960), (1, 240)) for index in range(count)]
    pixels: dict[tuple[int, ...], list[int]] = {}
    for split, index in drawn:
        picture = render(0, split, index)
        pixels.setdefault(picture.labels, []).append(int(np.count_nonzero(picture.mask)))
    assert {labels: len(found) for labels, found in pixels.items()} == {(k,): 300 for k in range(4)}
    smallest = {NAMES[labels[0]]: min(found) for labels, found in pixels.items()}
    assert min(smallest.values()) >= 90, smallest


def test_film_is_blue_and_varies(pictures: list[Picture]) -> None:
    grounds = np.array([p.image[p.mask == 0].mean(axis=0) for p in pictures])
    assert (grounds[:, 2] > grounds[:, 1]).all()
    assert (grounds[:, 1] > grounds[:, 0]).all()
    assert grounds[:, 2].std() > 15


def test_indentations_have_the_lowest_contrast(pictures: list[Picture]) -> None:
    contrast: dict[int, list[float]] = {}
    for picture in pictures:
        colour = picture.image.astype(float)
        difference = colour[picture.mask > 0].mean(axis=0) - colour[picture.mask == 0].mean(axis=0)
        contrast.setdefault(picture.labels[0], []).append(float(np.abs(difference).mean()))
    medians = {NAMES[k]: np.median(v) for k, v in contrast.items()}
    assert all(medians["indentation"] < 0.5 * v for k, v in medians.items() if k != "indentation")


def test_defect_free_pictures_have_no_label_and_an_empty_mask(film: BlueFilm) -> None:
    assert film.ids("train")[-2:] == ("train_good_0000", "train_good_0001")
    assert film.ids("val")[-1] == "val_good_0000"
    for sample_id in (i for split in ("train", "val") for i in film.ids(split)):
        empty = "good" in sample_id
        assert (film.sample(sample_id).labels == ()) == empty
        assert (load_pixels(film.mask_path(sample_id)).max() == 0) == empty
    without = BlueFilm(BlueFilmConfig(good=0.0))
    assert len(without.ids("train")) == 960


def test_a_smaller_set_is_the_beginning_of_a_larger_one(film: BlueFilm) -> None:
    larger = BlueFilm(BlueFilmConfig(train=20, val=10))
    assert film.drawing_order("train")[:10] == larger.drawing_order("train")[:10]
    for split in ("train", "val"):
        assert set(film.drawing_order(split)) <= set(larger.drawing_order(split))
    np.testing.assert_array_equal(
        film.draw("train", 3).maps["images"], larger.draw("train", 3).maps["images"]
    )
    np.testing.assert_array_equal(
        film.draw("train", 10).maps["images"], larger.draw("train", 20).maps["images"]
    )


def test_splits_seeds_and_good_pictures_differ() -> None:
    images = [render(0, 0, 3), render(1, 0, 3), render(0, 1, 3), render(0, 0, 3, good=True)]
    assert len({p.image.tobytes() for p in images}) == len(images)


def test_larger_pictures_show_the_same_defect_larger() -> None:
    for index in range(4):
        small, large = render(0, 0, index), render(0, 0, index, size=192)
        assert large.mask.shape == tuple(2 * side for side in small.mask.shape)
        assert large.labels == small.labels


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"good": 1.5}, r"dataset\.good=1\.5: must be in \[0, 1\]"),
        ({"size": 16}, r"dataset\.size=16: must be in \[48, 2048\]"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BlueFilm(BlueFilmConfig(**settings))  # type: ignore[arg-type]
