"""What refiners share of CAMs, pictures and winners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.files.images import read_labels
from methods.artifacts import Cam, label_map_path
from methods.refiners.cam_maps import class_ids, crf_picture, crf_size, resized_maps, write_winners
from tests.helpers.trees import write_image


def cam(*classes: int, size: tuple[int, int] = (8, 6)) -> Cam:
    maps = np.random.default_rng(0).random((len(classes), 4, 3)).astype(np.float16)
    return Cam(maps, classes, size)


@pytest.mark.parametrize(("classes", "least", "count"), [((), 0, 0), ((), 1, 1), ((3,), 1, 1), ((3,), 2, 2)])
def test_maps_are_at_least_as_many_as_asked(classes: tuple[int, ...], least: int, count: int) -> None:
    found = resized_maps(cam(*classes), (8, 6), least)
    assert found.shape == (count, 8, 6)
    assert bool(found[: len(classes)].gt(0).all())
    assert not found[len(classes) :].any()


def test_a_crfs_grid_covers_the_image_and_its_picture_is_reduced(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", size=(25, 16))
    assert crf_size(cam(size=(16, 25)), 2) == (8, 13)
    assert crf_picture(tmp_path / "a.png", (16, 25)).shape == (16, 25, 3)
    reduced = crf_picture(tmp_path / "a.png", (8, 13))
    assert reduced.shape == (8, 13, 3)
    assert reduced.dtype == np.uint8
    assert reduced.std() < crf_picture(tmp_path / "a.png", (16, 25)).std()  # averaged, not picked


def test_class_ids_begin_with_the_background() -> None:
    assert class_ids((2, 254)).tolist() == [0, 3, 255]
    assert class_ids((2,), 4).tolist() == [0, 3, 0, 0]


def test_winners_become_class_ids_and_padding_background(tmp_path: Path) -> None:
    winners = torch.tensor([[[0, 1, 2]], [[0, 1, 2]], [[0, 1, 2]]])
    write_winners(tmp_path, ["a", "b", "none"], [cam(4, 7), cam(2), cam()], winners)
    found = [read_labels(label_map_path(tmp_path, i)).tolist() for i in ("a", "b", "none")]
    assert found == [[[0, 5, 8]], [[0, 3, 0]], [[0, 0, 0]]]
