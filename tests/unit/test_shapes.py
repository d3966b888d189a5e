"""The generated data set: what is drawn, that it is frozen, and that preparing it is safe."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from datasets.base import DataError
from datasets.shapes import FROZEN, Shapes, ShapesConfig, draw, fingerprints
from datasets.shapes_scene import NAMES, SIZES, Picture

SMALL = {"train": 12, "val": 6}

FROZEN_FIRST_FORTY = {
    "images/train": "b92c8ba8504e5eb8f6845bab17d0053d6f381887fac9f93a83f55af3611a56c2",
    "masks/train": "dd3f5cfd9c086127f3583c3cc7e7051b27325017df6f911b08730e69d48023a4",
    "images/val": "1ef1a35451cf06064c90ae2ba7544fa8e1d6da3f75eec96b0458bfbee3b92f68",
    "masks/val": "e2c02b32fee3d67f7614e3213e61b137d9b5d89f982b48778ce913352d1619f2",
}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [draw(0, "train", i) for i in range(120)]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    data = Shapes(ShapesConfig(root=str(tmp_path_factory.mktemp("shapes")), **SMALL))
    data.prepare()
    return data


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_default_pictures_are_the_published_ones() -> None:
    # The first pictures stand for all: each has a random stream of its own.
    config = ShapesConfig(train=40, val=40)
    assert fingerprints(config, "train") | fingerprints(config, "val") == FROZEN_FIRST_FORTY


@pytest.mark.slow
def test_whole_default_set_is_the_published_one() -> None:
    config = ShapesConfig()
    assert fingerprints(config, "train") | fingerprints(config, "val") == FROZEN


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


def test_files_hold_what_was_drawn(shapes: Shapes) -> None:
    for index, sample_id in enumerate(shapes.ids("val")):
        picture, sample = draw(0, "val", index), shapes.sample(sample_id)
        np.testing.assert_array_equal(pixels(sample.image), picture.image)
        np.testing.assert_array_equal(pixels(shapes.mask_path(sample_id)), picture.mask)
        np.testing.assert_array_equal(pixels(shapes.context_path(sample_id)), picture.context)
        assert sample.labels == picture.labels
    assert {c.name: shapes.classes[c.object_class] for c in shapes.contexts} == {
        "rails": "train",
        "water": "boat",
    }


def test_fingerprints_depend_on_content_only(shapes: Shapes, tmp_path: Path) -> None:
    config = ShapesConfig(root=str(tmp_path), **SMALL)
    elsewhere = Shapes(config)
    for split in ("train", "val"):
        drawn = fingerprints(config, split)
        for part in ("images", "masks"):
            assert (
                shapes.fingerprint(part, split)
                == elsewhere.fingerprint(part, split)
                == drawn[f"{part}/{split}"]
            )
    other = Shapes(ShapesConfig(root=str(tmp_path), seed=1, **SMALL))
    assert other.fingerprint("images", "val") != shapes.fingerprint("images", "val")


def test_problems_names_damage(tmp_path: Path) -> None:
    data = Shapes(ShapesConfig(root=str(tmp_path), train=2, val=2))
    assert data.problems() == []
    mask = data.mask_path("val_0001")
    Image.fromarray(pixels(mask) * 0).save(mask)
    assert "not those that were drawn" in data.problems()[0].what
    mask.unlink()
    assert "missing or damaged" in data.problems()[0].what


def test_concurrent_and_interrupted_preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ShapesConfig(root=str(tmp_path), train=2, val=2)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("datasets.generated.save_pixels", stop)
        with pytest.raises(KeyboardInterrupt):
            Shapes(config).prepare()
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []

    # What a killed run leaves behind is removed by the next one.
    (tmp_path / f"{Shapes(config).folder.name}.tmp-killed").mkdir()
    runs = [threading.Thread(target=Shapes(config).prepare) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [Shapes(config).folder.name]
    assert len(json.loads((Shapes(config).folder / "finished.json").read_text())["labels"]) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: Shapes(ShapesConfig(root=root, train=0)), "at least 1"),
        (lambda root: Shapes(ShapesConfig(root=root)).ids("test"), "no split 'test'"),
        (lambda root: Shapes(ShapesConfig(root=root, train=1, val=1)).sample("x"), "no sample 'x'"),
        (lambda root: Shapes(ShapesConfig(root=f"{root}/file/below")).prepare(), "set dataset.root"),
    ],
)
def test_errors_are_one_clear_line(make: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=message) as caught:
        make(str(tmp_path))  # type: ignore[operator]
    assert "\n" not in str(caught.value)
