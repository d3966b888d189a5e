"""Which way up a picture is, by its EXIF, from the header alone."""

from __future__ import annotations

from PIL import Image

_ORIENTATION = 0x0112  # the EXIF tag
_TURNED = ("JPEG", "MPO", "PNG")
"""Pillow's formats of files that decoders turn upright; MPO is a JPEG of several pictures, as phones write."""
_QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange height and width


def orientation(image: Image.Image) -> int:
    """By EXIF, as decoders apply it to a file of this format; 1: none. Before the pixels are decoded."""
    if image.format not in _TURNED or (image.format == "PNG" and "exif" not in image.info):
        return 1  # Pillow would decode a PNG in search of a late chunk, which decoders ignore
    return int(image.getexif().get(_ORIENTATION, 1))


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) after EXIF orientation."""
    width, height = image.size
    return (height, width) if orientation(image) in _QUARTER_TURNS else (width, height)
