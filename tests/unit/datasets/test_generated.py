"""What holds for every data set that the project draws: it is frozen, and preparing it is safe."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from datasets.base import ContextClass, DataError
from datasets.bluefilm.dataset import BlueFilm
from datasets.drawing.generated import SPLITS, GeneratedDataset, load_pixels
from datasets.shapes.dataset import Shapes


class Drawn(NamedTuple):
    """A data set, a small one's settings, and the fingerprints of its first forty pictures a split."""

    dataset: type[GeneratedDataset]
    small: dict[str, Any]
    first_forty: dict[str, str]
    contexts: dict[str, str]

    def __call__(self, root: Path | str | None = None, **settings: Any) -> Any:
        return self.dataset(self.dataset.config(root=root and str(root), **settings))


SETS = [
    Drawn(
        Shapes,
        {"train": 12, "val": 6},
        {
            "images/train": "b92c8ba8504e5eb8f6845bab17d0053d6f381887fac9f93a83f55af3611a56c2",
            "masks/train": "dd3f5cfd9c086127f3583c3cc7e7051b27325017df6f911b08730e69d48023a4",
            "images/val": "1ef1a35451cf06064c90ae2ba7544fa8e1d6da3f75eec96b0458bfbee3b92f68",
            "masks/val": "e2c02b32fee3d67f7614e3213e61b137d9b5d89f982b48778ce913352d1619f2",
        },
        {"rails": "train", "water": "boat"},
    ),
    Drawn(
        BlueFilm,
        {"train": 10, "val": 5, "good": 0.2},
        {
            "images/train": "9959435503e70ab7e587f241907f519ddb1250229f012758d30da37050707832",
            "masks/train": "60aef231824067f644a841d1a89ce5392f79e53dc789aa509b960271891a87dd",
            "images/val": "4e640f091fc37aa6129fe9547a7214534daedfd1c5e1a7601415e5578626e9a4",
            "masks/val": "4098271e236879ca1fc9d2d7b3b0ad837df72e80eaa078fd034e8802fb24d2fb",
        },
        {},
    ),
]


@pytest.fixture(params=SETS, ids=lambda made: made.dataset.name, scope="module")
def make(request: pytest.FixtureRequest) -> Drawn:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def small(make: Drawn, tmp_path_factory: pytest.TempPathFactory) -> GeneratedDataset:
    data = make(tmp_path_factory.mktemp("drawn"), **make.small)
    data.prepare()
    return data  # type: ignore[no-any-return]


def fingerprints(data: GeneratedDataset) -> dict[str, str]:
    return {key: value for split in SPLITS for key, value in data.fingerprints_drawn(split).items()}


def test_default_pictures_are_the_published_ones(make: Drawn) -> None:
    # The first pictures stand for all: each has a random stream of its own.
    assert fingerprints(make(train=40, val=40)) == make.first_forty


@pytest.mark.slow
def test_whole_default_set_is_the_published_one(make: Drawn) -> None:
    assert fingerprints(make()) == make.dataset.frozen


def test_files_hold_what_was_drawn(make: Drawn, small: GeneratedDataset) -> None:
    for position, sample_id in enumerate(small.ids("val")):
        picture, sample = small.draw("val", position), small.sample(sample_id)
        np.testing.assert_array_equal(load_pixels(sample.image), picture.maps["images"])
        np.testing.assert_array_equal(load_pixels(small.mask_path(sample_id)), picture.maps["masks"])
        if small.contexts:
            context = small.context_path(sample_id)
            assert context is not None
            np.testing.assert_array_equal(load_pixels(context), picture.maps["contexts"])
        assert sample.labels == picture.labels
    contexts: tuple[ContextClass, ...] = small.contexts
    assert {c.name: small.classes[c.object_class] for c in contexts} == make.contexts


def test_fingerprints_depend_on_content_only(make: Drawn, small: GeneratedDataset, tmp_path: Path) -> None:
    elsewhere = make(tmp_path, **make.small)
    for key, value in fingerprints(elsewhere).items():
        part, split = key.split("/")
        assert small.fingerprint(part, split) == elsewhere.fingerprint(part, split) == value  # type: ignore[arg-type]
    other = make(tmp_path, seed=1, **make.small)
    assert other.fingerprint("images", "val") != small.fingerprint("images", "val")


def test_problems_names_damage(make: Drawn, tmp_path: Path) -> None:
    data = make(tmp_path, train=2, val=2)
    assert data.problems() == []
    mask = data.mask_path("val_0001")
    Image.fromarray(load_pixels(mask) * 0).save(mask)
    assert "not those that were drawn" in data.problems()[0].what
    mask.unlink()
    assert "missing or damaged" in data.problems()[0].what


def test_concurrent_and_interrupted_preparation(
    make: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"train": 2, "val": 2}
    folder = make(tmp_path, **settings).folder

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("datasets.drawing.generated.save_pixels", stop)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, **settings).prepare()
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []

    # What a killed run leaves behind is removed by the next one.
    (tmp_path / f"{folder.name}.tmp-killed").mkdir()
    runs = [threading.Thread(target=make(tmp_path, **settings).prepare) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == [folder]
    assert len(json.loads((folder / "finished.json").read_text())["labels"]) == 4


@pytest.mark.parametrize(
    ("settings", "use", "message"),
    [
        ({"train": 0}, lambda data: data, r"^dataset\.train=0: must be in \[1, 1000000\]$"),
        ({"val": 0}, lambda data: data, r"^dataset\.val=0: must be in \[1, 1000000\]$"),
        ({"seed": -1}, lambda data: data, r"^dataset\.seed=-1: must be at least 0$"),
        ({}, lambda data: data.ids("test"), "no split 'test'"),
        ({"train": 1, "val": 1}, lambda data: data.sample("x"), "no sample 'x'"),
        ({"root": "file/below"}, lambda data: data.prepare(), r"set dataset\.root"),
    ],
)
def test_errors_are_one_clear_line(
    make: Drawn, settings: dict[str, Any], use: Any, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=message) as caught:
        use(make(**(settings | {"root": tmp_path / settings.get("root", "")})))
    assert "\n" not in str(caught.value)
