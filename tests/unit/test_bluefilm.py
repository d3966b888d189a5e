"""The generated blue film: what is drawn, that it is frozen, and that defect-free pictures are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets.base import DataError
from datasets.bluefilm import FROZEN, BlueFilm, BlueFilmConfig
from datasets.bluefilm_defects import NAMES
from datasets.bluefilm_scene import SIZES, Picture, defect_class, render
from tests.conftest import ROOT

SMALL = {"train": 10, "val": 5, "good": 0.2}

FROZEN_FIRST_FORTY = {
    "images/train": "9959435503e70ab7e587f241907f519ddb1250229f012758d30da37050707832",
    "masks/train": "60aef231824067f644a841d1a89ce5392f79e53dc789aa509b960271891a87dd",
    "images/val": "4e640f091fc37aa6129fe9547a7214534daedfd1c5e1a7601415e5578626e9a4",
    "masks/val": "4098271e236879ca1fc9d2d7b3b0ad837df72e80eaa078fd034e8802fb24d2fb",
}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [render(0, 0, i) for i in range(100)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> BlueFilm:
    data = BlueFilm(BlueFilmConfig(root=str(tmp_path_factory.mktemp("bluefilm")), **SMALL))
    data.prepare()
    return data


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def drawn(config: BlueFilmConfig) -> dict[str, str]:
    data = BlueFilm(config)
    return data.fingerprints_drawn("train") | data.fingerprints_drawn("val")


def test_default_pictures_are_the_published_ones() -> None:
    # The first pictures stand for all: each has a random stream of its own.
    assert drawn(BlueFilmConfig(train=40, val=40)) == FROZEN_FIRST_FORTY


@pytest.mark.slow
def test_whole_default_set_is_the_published_one() -> None:
    assert drawn(BlueFilmConfig()) == FROZEN


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
        assert (pixels(film.mask_path(sample_id)).max() == 0) == empty
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


def test_files_hold_what_was_drawn(film: BlueFilm) -> None:
    for position, sample_id in enumerate(film.ids("val")):
        picture, sample = film.draw("val", position), film.sample(sample_id)
        np.testing.assert_array_equal(pixels(sample.image), picture.maps["images"])
        np.testing.assert_array_equal(pixels(film.mask_path(sample_id)), picture.maps["masks"])
        assert sample.labels == picture.labels
    assert film.contexts == ()


def test_fingerprints_depend_on_content_only(film: BlueFilm, tmp_path: Path) -> None:
    elsewhere = BlueFilm(BlueFilmConfig(root=str(tmp_path), **SMALL))
    for key, value in drawn(elsewhere.settings).items():  # type: ignore[arg-type]
        part, split = key.split("/")
        assert film.fingerprint(part, split) == elsewhere.fingerprint(part, split) == value  # type: ignore[arg-type]


def test_problems_names_damage(tmp_path: Path) -> None:
    data = BlueFilm(BlueFilmConfig(root=str(tmp_path), train=2, val=2))
    assert data.problems() == []
    mask = data.mask_path("val_0001")
    Image.fromarray(pixels(mask) * 0).save(mask)
    assert "not those that were drawn" in data.problems()[0].what
    mask.unlink()
    assert "missing or damaged" in data.problems()[0].what


def test_an_interrupted_preparation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    data = BlueFilm(BlueFilmConfig(root=str(tmp_path), train=2, val=2))
    with monkeypatch.context() as patched:
        patched.setattr("datasets.generated.save_pixels", stop)
        with pytest.raises(KeyboardInterrupt):
            data.prepare()
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []
    data.prepare()
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == [data.folder]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: BlueFilm(BlueFilmConfig(root=root, val=0)), "at least 1"),
        (
            lambda root: BlueFilm(BlueFilmConfig(root=root, good=1.5)),
            r"dataset\.good=1\.5: must be in \[0, 1\]",
        ),
        (
            lambda root: BlueFilm(BlueFilmConfig(root=root, size=16)),
            r"dataset\.size=16: must be in \[48, 2048\]",
        ),
        (lambda root: BlueFilm(BlueFilmConfig(root=root)).ids("test"), "no split 'test'"),
        (lambda root: BlueFilm(BlueFilmConfig(root=root, train=1, val=1)).sample("x"), "no sample 'x'"),
        (lambda root: BlueFilm(BlueFilmConfig(root=f"{root}/file/below")).prepare(), r"set dataset\.root"),
    ],
)
def test_errors_are_one_clear_line(make: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=message) as caught:
        make(str(tmp_path))  # type: ignore[operator]
    assert "\n" not in str(caught.value)
