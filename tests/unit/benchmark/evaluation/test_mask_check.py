"""Masks are checked, all of them, before anything trains on their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.evaluation.mask_check import check_masks
from datasets.base import DataError
from datasets.files.images import write_labels
from tests.helpers.evaluation_data import TinyDataset

MASKS = {f"im{k}": np.array([[0, 0, k % 4, 255]], np.uint8) for k in range(20)}
LABELS = {f"im{k}": (k % 4 - 1,) if k % 4 else () for k in range(20)}


def test_sound_masks_are_counted_and_progress_is_told(tmp_path: Path) -> None:
    dataset = TinyDataset(tmp_path, MASKS, labels=LABELS, unmasked=["bare"])
    told: list[int] = []
    assert check_masks(dataset, "train", progress=told.append) == 20
    assert sum(told) == 20


def test_the_first_fault_is_told_and_all_are_counted(tmp_path: Path) -> None:
    dataset = TinyDataset(tmp_path, MASKS, labels=LABELS)
    write_labels(tmp_path / "masks" / "im3.png", np.full((1, 4), 9, np.uint8))
    with pytest.raises(DataError, match=r"^mask .*im3\.png holds id 9, but ids are 0\.\.3 and 255"):
        check_masks(dataset, "train")
    write_labels(tmp_path / "masks" / "im17.png", np.zeros((2, 4), np.uint8))
    (tmp_path / "masks" / "im18.png").write_bytes(b"no picture")
    with pytest.raises(
        DataError, match=r"^3 of 20 masks of train are faulty \(im3, im17, im18\): mask .*im3"
    ):
        check_masks(dataset, "train")


def test_a_context_map_is_checked_with_its_mask(tmp_path: Path) -> None:
    dataset = TinyDataset(tmp_path, MASKS, labels=LABELS, context_maps={"im1": np.zeros((2, 4), np.uint8)})
    with pytest.raises(DataError, match=r"context map .*im1\.png is 4x2 but mask"):
        check_masks(dataset, "train")


@pytest.mark.parametrize(
    ("values", "told"),
    [([0, 255], r"0 \(background\) and 255 \(ignored\)"), ([0, 0], r"only 0 \(background\);")],
)
def test_masks_without_any_object(tmp_path: Path, values: list[int], told: str) -> None:
    masks = {name: np.array([values], np.uint8) for name in MASKS}
    with pytest.raises(DataError, match=rf"train: none of the 15 masks .*{told}.*1 boat, 2 train, 3 bird"):
        check_masks(TinyDataset(tmp_path, masks, labels=LABELS), "train")
    unlabelled = TinyDataset(tmp_path, masks)
    assert check_masks(unlabelled, "train") == 20  # nothing says that there should be objects


def test_ids_of_two_classes_swapped(tmp_path: Path) -> None:
    """Among many others, where their share of all masks is small."""
    masks = {f"im{k}": np.array([[0, 1]], np.uint8) for k in range(100)}
    labels = dict.fromkeys(masks, (0,))
    for k in range(6):
        masks[f"im{k}"], labels[f"im{k}"] = np.array([[0, 2 + k % 2]], np.uint8), (2 - k % 2,)
    with pytest.raises(
        DataError,
        match=r"6 of 100 masks hold none of .*\(im0, im1, im2 and 3 more\); "
        r"3 of 3 masks of 'train' lack its id 2, 3 hold 3 'bird' instead",
    ):
        check_masks(TinyDataset(tmp_path, masks, labels=labels), "train")


@pytest.mark.parametrize("held", [[0, 255], [0, 0]])
def test_half_of_the_masks_without_their_object(tmp_path: Path, held: list[int]) -> None:
    masks = {f"im{k}": np.array([held if k % 2 else [0, 1]], np.uint8) for k in range(12)}
    with pytest.raises(DataError, match="6 of 12 masks hold none of their image's classes"):
        check_masks(TinyDataset(tmp_path, masks, labels=dict.fromkeys(masks, (0,))), "train")


def test_masks_with_classes_that_are_no_labels(tmp_path: Path) -> None:
    masks = {f"im{k}": np.array([[1, 3 if k < 3 else 0]], np.uint8) for k in range(20)}
    labels = dict.fromkeys(masks, (0,))
    with pytest.raises(DataError, match=r"3 of 20 masks hold classes that their image is not labelled with"):
        check_masks(TinyDataset(tmp_path, masks, labels=labels), "train")


def test_few_disagreements_are_a_note(tmp_path: Path) -> None:
    masks = {f"im{k}": np.array([[1, 0 if k else 3]], np.uint8) for k in range(20)}
    masks["im5"] = np.array([[0, 0]], np.uint8)
    notes: list[str] = []
    dataset = TinyDataset(tmp_path, masks, labels=dict.fromkeys(masks, (0,)))
    assert check_masks(dataset, "train", note=notes.append) == 20
    assert [text.partition(" masks ")[2].partition(")")[0] for text in notes] == [
        "hold none of their image's classes (im5",
        "hold classes that their image is not labelled with (im0",
    ]


def test_a_context_is_no_object(tmp_path: Path) -> None:
    masks = {"a": np.array([[0, 0]], np.uint8)}
    context = {"a": np.array([[0, 1]], np.uint8)}
    with pytest.raises(DataError, match="none of the 1 masks"):
        check_masks(TinyDataset(tmp_path, masks, labels={"a": (0,)}, context_maps=context), "train")
