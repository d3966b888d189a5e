"""What a picture's header alone says: which way up it is, by its EXIF, and its size. Light to import."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from datasets.base import DataError
from datasets.files.broken_files import too_large, undecodable

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


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the file's header, after EXIF orientation: the size that `read_image` gives.

    Raises DataError for a file that is missing or no image.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            return upright_size(image)[::-1]
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; restore it, or remove it from the list of images") from None
    except PermissionError:
        raise
    except Image.DecompressionBombError:
        raise too_large(path) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise undecodable(path) from error
