"""Copies of a folder's images lie as decoders read the originals, whatever the file's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.base import Conversion
from datasets.files.images import image_size, read_image
from datasets.folder.copies import convert

ORIENTATION = 0x0112
TURNED = [("a.jpg", "JPEG"), ("a.jpg", "MPO"), ("a.png", "PNG"), ("a.webp", "WEBP")]
"""Ending and Pillow's format; WebP's orientation is ignored, MPO is what phones write beside JPEG."""


def corners(path: Path) -> np.ndarray:
    """Mean colours of the four quarters: (2, 2, 3)."""
    pixels = read_image(path).float().numpy()
    return pixels.reshape(3, 2, pixels.shape[1] // 2, 2, pixels.shape[2] // 2).mean((2, 4)).transpose(1, 2, 0)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("name", "kind"), TURNED)
def test_a_reduced_image_lies_as_the_original_is_read(
    tmp_path: Path, name: str, kind: str, orientation: int
) -> None:
    quarters = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    photo = Image.fromarray(quarters).resize((240, 160), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / name
    several = {"save_all": True, "append_images": [photo]} if kind == "MPO" else {}
    photo.save(path, format=kind, exif=exif, **several)
    made = convert([path], Conversion(60, 0), tmp_path / "copies")
    height, width = read_image(path).shape[1:]
    assert made.headers[path].size == (width, height)
    assert image_size(path) == (height, width)
    assert read_image(made.copies[path]).shape[1:] == (height // 4, width // 4)
    np.testing.assert_allclose(corners(made.copies[path]), corners(path), atol=12)
