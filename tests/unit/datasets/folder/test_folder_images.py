"""Your own images of 16 bits and large ones: what is made of them, and the settings for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.base import Conversion, DataError
from datasets.folder.reader import Folder
from tests.helpers.folder_data import ROWS, dataset, mask
from tests.helpers.trees import write_deep_colour, write_folder, write_image, write_mask


def write_deep(path: Path, highest: int) -> None:
    values = np.linspace(0, highest, 24 * 16).astype(np.uint16).reshape(16, 24)
    Image.fromarray(values).save(path)


def decoded(found: Folder, sample_id: str) -> np.ndarray:
    from datasets.files.images import read_image

    return read_image(found.sample(sample_id).image).numpy()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 3}, r"dataset\.bits=3: must be 0 or in \[8, 16\]"),
        ({"longest_side": 8}, r"dataset\.longest_side=8: must be 0 or at least 32"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(tmp_path, **settings)


def test_deep_images_that_fill_their_range_stay_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    for name in "abc":
        write_deep(tmp_path / "images" / f"{name}.png", 65535)
    found = dataset(tmp_path)
    assert found.sample("a").image == tmp_path / "images" / "a.png"
    assert decoded(found, "a").shape == (3, 16, 24)
    assert (decoded(found, "a").min(), decoded(found, "a").max()) == (0, 255)


def test_deep_images_with_fewer_bits_need_to_say_so(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    for name, highest in zip("abc", (1000, 2000, 4095), strict=True):
        write_deep(tmp_path / "images" / f"{name}.png", highest)
    with pytest.raises(
        DataError, match=r"reach 4095 of 65535 would be nearly black; run with dataset\.bits=12"
    ):
        dataset(tmp_path).prepare()
    found = dataset(tmp_path, bits=12)
    assert [decoded(found, i).max() for i in "abc"] == [62, 125, 255]
    assert "3 16-bit images of 12 significant bits" in found.notes()
    assert found.problems() == []
    assert found.fingerprint("images", "train") != dataset(tmp_path, bits=16).fingerprint("images", "train")
    with pytest.raises(
        DataError, match=r"c\.png: holds 4095, more than 11 bits; correct the run's dataset\.bits"
    ):
        dataset(tmp_path, bits=11).prepare()


def test_deep_colour_has_the_bits_of_its_camera(tmp_path: Path) -> None:
    """Pillow keeps the upper 8 of 16 bits, which would leave 16 grey levels of a 12-bit camera, and those dark."""
    write_folder(tmp_path, ROWS)
    pixels = np.linspace(0, 4095, 16 * 24 * 3).astype(np.uint16).reshape(16, 24, 3)
    for name in "abc":
        write_deep_colour(tmp_path / "images" / f"{name}.png", pixels)
    with pytest.raises(
        DataError, match=r"reach 4095 of 65535 would be nearly black; run with dataset\.bits=12"
    ):
        dataset(tmp_path).prepare()
    expected = np.round(pixels.transpose(2, 0, 1) * (255 / 4095))
    assert np.abs(decoded(dataset(tmp_path, bits=12), "a") - expected).max() <= 1
    assert decoded(dataset(tmp_path, bits=16), "a").max() == 16
    assert decoded(dataset(tmp_path, bits=16), "a").shape == (3, 16, 24)


def test_what_was_done_to_images_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path, ROWS)
    assert dataset(tmp_path).conversion() == Conversion(1024, 0)
    assert dataset(tmp_path, bits=12, longest_side=64).conversion() == Conversion(64, 12)
    write_deep(tmp_path / "images" / "a.png", 65535)
    assert dataset(tmp_path).conversion() == Conversion(1024, 16)


def test_large_images_are_reduced_once_with_their_masks(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", ["a,rust;dent,train", *ROWS[1:]])
    write_image(root / "images" / "a.png", 0, (400, 300))
    write_mask(root / "masks" / "a.png", [0, 1, 2], (400, 300))
    found = dataset(root, longest_side=64)
    assert decoded(found, "a").shape == (3, 48, 64)
    assert mask(found, "a").shape == (48, 64)
    assert set(np.unique(mask(found, "a"))) == {0, 1, 2}
    assert found.sample("b").image == root / "images" / "b.png"
    assert found.mask_path("b") == root / "masks" / "b.png"
    assert "1 images reduced to 64 pixels, the size of their scores" in found.notes()
    assert found.problems() == []
    assert {root / "masks", found.mask_path("a").parent} == set(found.mask_directories())
    made = found.sample("a").image.stat().st_mtime_ns
    shutil.copytree(root, tmp_path / "moved")
    again = dataset(tmp_path / "moved", longest_side=64)
    assert again.sample("a").image.stat().st_mtime_ns == made
    for part in ("images", "masks"):
        assert again.fingerprint(part, "train") == found.fingerprint(part, "train")
        assert again.fingerprint(part, "train") != dataset(root).fingerprint(part, "train")
    write_image(root / "images" / "a.png", 5, (400, 300))
    assert dataset(root, longest_side=64).sample("a").image != found.sample("a").image


def test_what_is_too_large_to_decode_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, ROWS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png: more than \d+ million pixels; reduce it or cut it"):
        dataset(tmp_path).prepare()
