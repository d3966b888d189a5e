"""What every registered data set promises."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.base import IGNORE, Dataset, DatasetConfig
from datasets.bluefilm.dataset import BlueFilmConfig
from datasets.coco.reader import CocoConfig
from datasets.folder.reader import FolderConfig
from datasets.shapes.dataset import ShapesConfig
from datasets.voc.reader import VocConfig
from tests.helpers.trees import write_coco, write_folder, write_voc

SPLITS = ("train", "val")


def shapes(root: Path) -> DatasetConfig:
    return ShapesConfig(train=6, val=4, root=str(root))


def bluefilm(root: Path) -> DatasetConfig:
    return BlueFilmConfig(train=6, val=4, good=0.5, root=str(root))


def voc2012(root: Path) -> DatasetConfig:
    write_voc(
        root,
        {
            "train": {"2007_000001": ["cat", "person", "cat"], "2007_000002": ["aeroplane"]},
            "val": {"2007_000003": ["tvmonitor"]},
        },
    )
    return VocConfig(root=str(root))


def coco2014(root: Path) -> DatasetConfig:
    write_coco(root, {"train": {9: [1, 90, 1], 25: [], 30: [3]}, "val": {42: [27]}})
    return CocoConfig(root=str(root))


def folder(root: Path) -> DatasetConfig:
    write_folder(root, ["a,rust,train", "sub/b,rust;dent,train", "c,dent,val"])
    return FolderConfig(root=str(root))


MAKERS: dict[str, Callable[[Path], DatasetConfig]] = {
    "shapes": shapes,
    "bluefilm": bluefilm,
    "voc2012": voc2012,
    "coco2014": coco2014,
    "folder": folder,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=datasets.names())
def config(request: pytest.FixtureRequest, tmp_path: Path) -> DatasetConfig:
    return MAKERS[request.param](tmp_path / "data")


@pytest.fixture
def dataset(config: DatasetConfig) -> Dataset:
    made = build(config)
    made.prepare()
    return made


@pytest.mark.parametrize("subset", [0, 1])
def test_it_can_be_sent_to_other_processes(config: DatasetConfig, subset: int) -> None:
    made = datasets.open_dataset(replace(config, subset=subset))
    made.prepare()
    sent = pickle.loads(pickle.dumps(made))
    for split in SPLITS:
        assert sent.samples(split) == made.samples(split)
        assert sent.fingerprint("images", split) == made.fingerprint("images", split)


def build(config: DatasetConfig) -> Dataset:
    return datasets.dataset_class(config.name)(config)  # type: ignore[call-arg]


def test_declaration(dataset: Dataset, config: DatasetConfig) -> None:
    assert dataset.name == config.name
    assert isinstance(config, dataset.config)
    assert dataset.summary
    assert dataset.needs
    assert len(set(dataset.classes)) == len(dataset.classes) > 0
    assert "background" not in dataset.classes


def test_splits_are_disjoint_and_samples_are_readable(dataset: Dataset) -> None:
    ids = [i for split in SPLITS for i in dataset.ids(split)]
    assert len(ids) == len(set(ids))
    for split in SPLITS:
        assert dataset.ids(split)
        for sample_id, sample in zip(dataset.ids(split), dataset.samples(split), strict=True):
            assert sample.id == sample_id
            assert sample.labels == tuple(sorted(set(sample.labels)))
            assert all(0 <= label < len(dataset.classes) for label in sample.labels)
            with Image.open(sample.image) as image:
                image.verify()


def test_masks_have_the_size_of_their_image_and_known_values(dataset: Dataset) -> None:
    for split in SPLITS:
        assert dataset.masked(split) == len(dataset.ids(split))
        for sample in dataset.samples(split):
            path = dataset.mask_path(sample.id)
            assert path is not None
            with Image.open(path) as mask, Image.open(sample.image) as image:
                assert mask.mode in ("L", "P")
                assert mask.size == image.size
                values = set(np.unique(np.array(mask)).tolist())
            assert values <= {*range(len(dataset.classes) + 1), IGNORE}


def test_context_maps_name_an_object_class(dataset: Dataset) -> None:
    for context in dataset.contexts:
        assert 0 <= context.object_class < len(dataset.classes)
        assert context.value >= 1


def test_training_view_leads_to_no_mask(dataset: Dataset) -> None:
    view = dataset.training_view()
    masks = {str(dataset.mask_path(i)) for split in SPLITS for i in dataset.ids(split)}
    assert view.samples("train") == dataset.samples("train")
    assert not any(mask in repr(view) for mask in masks)
    assert not any(value is dataset for value in vars(view).values())


def test_fingerprints_tell_parts_and_splits_apart(dataset: Dataset) -> None:
    parts = {dataset.fingerprint(part, split) for part in ("images", "masks") for split in SPLITS}
    assert len(parts) == 4


def test_fingerprint_is_of_content_not_of_the_path(config: DatasetConfig, tmp_path: Path) -> None:
    before = build(config)
    before.prepare()
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    after = build(replace(config, root=str(tmp_path / "elsewhere")))
    after.prepare()
    for part in ("images", "masks"):
        assert after.fingerprint(part, "train") == before.fingerprint(part, "train")


def test_a_sound_data_set_has_no_problems_but_its_size(dataset: Dataset) -> None:
    assert [p for p in dataset.problems() if p.broken and "draws" not in p.what] == []


@pytest.mark.parametrize("name", ["voc2012", "coco2014", "folder"])
@pytest.mark.parametrize("root", [None, "missing"])
def test_problems_of_a_missing_root_name_the_remedy(name: str, root: str | None, tmp_path: Path) -> None:
    config = datasets.dataset_class(name).config(name=name, root=root and str(tmp_path / root))
    (problem,) = build(config).problems()
    assert "dataset.root=PATH" in problem.remedy
    assert "\n" not in problem.what


def test_declarations_import_without_torch() -> None:
    modules = ", ".join(
        f"datasets.{name}" for name in ("base", "shapes", "bluefilm", "voc", "coco", "folder")
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
