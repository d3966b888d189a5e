"""BMP, TIFF and JPEG 2000, as cameras write them: the pixels of the same picture as PNG, or one line."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.files.decoding import image_size, is_deep, opened, rgb

NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray, **how: Any) -> Path:
    Image.fromarray(pixels).save(path, **how)
    return path


def write_tiff(path: Path, pixels: np.ndarray) -> Path:
    """uint16 (H, W, 3) as a TIFF of 16 bits a channel, which Pillow does not write."""
    height, width = pixels.shape[:2]
    data = pixels.astype("<u2").tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + len(data)), (259, 3, 1, 1), (262, 3, 1, 2),
               (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data))]  # fmt: skip
    listed = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    bits = struct.pack("<HHH", 16, 16, 16)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data) + 6) + data + bits + listed + bytes(4))
    return path


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.bmp", {}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.jp2", {"irreversible": False}),
        ("a.j2k", {"irreversible": False}),
    ],
)
@pytest.mark.parametrize("grey", [False, True])
def test_pixels_are_those_of_the_png(tmp_path: Path, name: str, how: dict[str, Any], grey: bool) -> None:
    pixels = NOISE[..., 0] if grey else NOISE
    path = write(tmp_path / name, pixels, **how)
    found = rgb(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, rgb(write(tmp_path / "a.png", pixels)))
    assert image_size(path) == (40, 56)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bits_of_a_tiff_stay(tmp_path: Path, mode: str) -> None:
    deep = (NOISE[..., 0].astype(np.uint16) << 4) + 3
    path = tmp_path / "a.tif"
    Image.fromarray(deep.astype(">u2" if mode.endswith("B") else "<u2")).save(path)
    with opened(path) as image:
        assert image.mode == mode
        assert is_deep(image)
    assert np.array_equal(rgb(path), np.repeat(deep[..., None], 3, 2))


def test_a_turned_tiff_is_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", NOISE, tiffinfo={274: 6})
    assert image_size(path) == (56, 40)
    assert np.array_equal(rgb(path), np.rot90(NOISE, -1))


def test_pages_of_a_tiff_are_named(tmp_path: Path) -> None:
    path, small = tmp_path / "a.tif", Image.fromarray(NOISE[:20, :28])
    image = Image.fromarray(NOISE)
    image.save(path, save_all=True, append_images=[small])
    pages = (
        r"a\.tif: a TIFF of several pages \(1 of 56x40, 2 of 28x20\); save the one that is the image alone"
    )
    for read in (rgb, image_size):
        with pytest.raises(DataError, match=pages):
            read(path)
    small.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    image.save(path, save_all=True, append_images=[small])
    assert np.array_equal(rgb(path), NOISE)  # the other is its thumbnail


def test_pixels_that_would_be_taken_for_others_are_refused(tmp_path: Path) -> None:
    """Pillow cuts colours of 16 bits to their upper half, so a 12-bit camera's would be nearly black."""
    path = write_tiff(tmp_path / "a.tif", NOISE.astype(np.uint16) << 4)
    with pytest.raises(DataError, match=r"a\.tif: a colour TIFF of 16 bits a channel; save it as PNG"):
        rgb(path)
    for kind in (np.float32, np.int32):
        write(path, NOISE[..., 0].astype(kind))
        with pytest.raises(DataError, match=r"a\.tif: a TIFF of 32 bits a channel; save it with 8 or 16"):
            rgb(path)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("a.bmp", "the BMP is truncated"), ("a.tif", "the TIFF is damaged, breaks off"),
     ("a.jp2", "the JPEG 2000 is truncated")],
)  # fmt: skip
def test_what_breaks_off_is_named(tmp_path: Path, name: str, fault: str) -> None:
    path = write(tmp_path / name, NOISE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{name}: cannot be decoded: {fault}"):
        rgb(path)
