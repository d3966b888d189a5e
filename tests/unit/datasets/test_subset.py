"""`dataset.subset`: a deterministic part of a data set in which the classes keep their shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import open_dataset
from datasets.base import DatasetConfig
from datasets.bluefilm.dataset import BlueFilmConfig
from datasets.folder.reader import FolderConfig
from datasets.shapes.dataset import ShapesConfig
from datasets.subset import stratified
from datasets.voc.reader import CLASSES, VocConfig
from tests.helpers.trees import write_folder, write_voc

LABELS = st.dictionaries(
    st.integers(0, 10_000).map(str),
    st.frozensets(st.integers(0, 5)).map(lambda s: tuple(sorted(s))),
    min_size=1,
)


@given(LABELS, st.integers(1, 40))
def test_as_many_as_asked_for_in_the_order_of_the_list(labels, size):
    chosen = stratified(labels, size)
    assert len(chosen) == min(size, len(labels))
    assert list(chosen) == [i for i in labels if i in set(chosen)]


@given(LABELS, st.integers(1, 40), st.randoms())
def test_the_order_of_the_list_decides_nothing(labels, size, random):
    ids = list(labels)
    random.shuffle(ids)
    assert set(stratified({i: labels[i] for i in ids}, size)) == set(stratified(labels, size))


@given(LABELS)
def test_every_class_has_an_image_where_there_is_room(labels):
    strata = {c for of_image in labels.values() for c in of_image or (-1,)}
    chosen = stratified(labels, len(strata))
    assert {c for i in chosen for c in labels[i] or (-1,)} == strata


def test_classes_keep_their_shares():
    generator = np.random.default_rng(0)
    shares = np.array([0.6, 0.3, 0.1, 0.05, 0.02])
    drawn = generator.random((2000, 5)) < shares
    labels = {f"{k:04d}": tuple(np.flatnonzero(row).tolist()) for k, row in enumerate(drawn)}
    chosen = stratified(labels, 100)
    there = Counter(c for i in chosen for c in labels[i])
    found = np.array([there[c] for c in range(5)]) / 100
    np.testing.assert_allclose(found, drawn.mean(0), atol=0.05)
    assert abs(sum(not labels[i] for i in chosen) / 100 - (~drawn.any(1)).mean()) < 0.05


def counted(sizes: Sequence[int], size: int) -> list[int]:
    """Images of each class in the part, where every image has one class and class k has sizes[k] images."""
    labels = {f"{c}-{n}": (c,) for c, images in enumerate(sizes) for n in range(images)}
    there = Counter(c for i in stratified(labels, size) for c in labels[i])
    return [there[c] for c in range(len(sizes))]


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([1, 1, 1, 48, 49], 5, [1] * 5),  # shares of .05 must not crowd out those of 2.4
        ([5] * 20 + [450, 460], 64, [1] * 20 + [22] * 2),  # like sizes, like parts
        ([1, 1, 1, 48, 49], 3, [0, 0, 1, 1, 1]),  # no room for all
        ([10, 20, 70], 10, [1, 2, 7]),
    ],
)
def test_rare_classes_do_not_starve_common_ones(sizes, size, expected):
    assert counted(sizes, size) == expected


def test_more_classes_than_images():
    """As in COCO: 80 classes, many a rare one, of two or three to an image; 64 images hold all of them."""
    generator = np.random.default_rng(0)
    shares = np.array([0.45, *np.geomspace(0.13, 0.002, 79)])
    drawn = generator.random((20_000, 80)) < shares
    labels = {f"{k:05d}": tuple(np.flatnonzero(row).tolist()) for k, row in enumerate(drawn) if row.any()}
    chosen = stratified(labels, 64)
    there = Counter(c for i in chosen for c in labels[i])
    assert set(there) == set(range(80))
    of_all = np.mean([0 in of_image for of_image in labels.values()])
    assert there[0] / 64 == pytest.approx(of_all, abs=0.03)


def shapes(root: Path) -> DatasetConfig:
    return ShapesConfig(train=24, val=12, root=str(root), subset=8)


def bluefilm(root: Path) -> DatasetConfig:
    return BlueFilmConfig(train=16, val=8, good=0.5, root=str(root), subset=8)


def voc2012(root: Path) -> DatasetConfig:
    lists = {
        split: {f"2007_{first + k:06d}": [CLASSES[k % 3]] for k in range(18)}
        for split, first in (("train", 0), ("val", 100))
    }
    write_voc(root, lists)
    return VocConfig(root=str(root), subset=6)


def folder(root: Path) -> DatasetConfig:
    rows = [
        f"{split}_{k},{'rust' if k % 2 else 'dent'},{split}" for split in ("train", "val") for k in range(12)
    ]
    write_folder(root, rows)
    return FolderConfig(root=str(root), subset=4)


@pytest.fixture(params=[shapes, bluefilm, voc2012, folder])
def config(request, tmp_path, monkeypatch) -> DatasetConfig:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made: DatasetConfig = request.param(tmp_path / "data")
    return made


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_data_set_has_a_part(config, split):
    part, whole = open_dataset(config), open_dataset(replace(config, subset=0))
    for dataset in (part, whole):
        dataset.prepare()
    ids = part.ids(split)
    assert len(ids) == config.subset
    assert set(ids) < set(whole.ids(split))
    assert [s.id for s in part.training_view().samples(split)] == list(ids)
    assert part.masked(split) == config.subset
    labels = {c for i in whole.ids(split) for c in whole.sample(i).labels}
    assert {c for i in ids for c in part.sample(i).labels} == labels
    for kind in ("images", "masks"):
        assert part.fingerprint(kind, split) != whole.fingerprint(kind, split)
        assert part.fingerprint(kind, split) == open_dataset(config).fingerprint(kind, split)
    assert not [problem for problem in part.problems() if problem.broken]


def test_a_part_of_generated_data_is_drawn_once(tmp_path):
    whole = open_dataset(ShapesConfig(train=6, val=4, root=str(tmp_path)))
    whole.prepare()
    part = open_dataset(ShapesConfig(train=6, val=4, root=str(tmp_path), subset=2))
    part.prepare()
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
