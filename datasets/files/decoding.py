"""Image files opened and decoded by Pillow, whose decoders raise on whatever is damaged. Light to import (no torch).

Every file is read through Python's `open`, so that `datasets.files.guard` sees it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from datasets.base import DataError
from datasets.files.broken_files import too_large, undecodable
from datasets.files.listing import open_regular

PHOTOS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "JPEG2000", "GIF")
"""Pillow's formats of images; of GIF, to name animations."""
MAPS = (*PHOTOS, "PPM")
"""Of masks and saliency maps. Formats beyond these are not tried: Pillow hands some to other programs."""

_PNG = b"\x89PNG\r\n\x1a\n"
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")
"""Pillow's modes of greyscale with 16 bits."""
_ORIENTATION = 0x0112  # the EXIF tag
_REDUCED, _BITS = 254, 258  # TIFF's: whether a page is a smaller copy of another; bits of each channel
_TURNED = ("JPEG", "MPO", "PNG")
"""Formats whose orientation counts; MPO is a JPEG of several pictures, as phones write. Pillow turns TIFF by itself."""
_UPRIGHT = {2: (1, -1, False), 3: (-1, -1, False), 4: (-1, 1, False), 5: (1, 1, True), 6: (-1, 1, True),
            7: (-1, -1, True), 8: (1, -1, True)}  # fmt: skip
"""EXIF orientation -> (step through rows, through columns, then exchange them)."""

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of an interlaced PNG: first column and row, steps."""


@contextmanager
def opened(path: Path, formats: tuple[str, ...] = MAPS) -> Iterator[Image.Image]:
    """An image whose header has been read; what fails on the way or in the body is named as the file's fault.

    Raises DataError for what is missing, no regular file, too large, or cannot be decoded.
    """
    with _failures_named(path), open_regular(path) as file, Image.open(file, formats=formats) as image:
        _require_plain_tiff(path, image)
        yield image


@contextmanager
def opened_whole(path: Path, formats: tuple[str, ...] = MAPS) -> Iterator[Image.Image]:
    """As `opened`, of a file that is decoded in the body. A PNG's checksums hold and its pixels are complete, too:
    Pillow ignores both."""
    with _failures_named(path):
        with open_regular(path) as file:
            content = file.read()
        stream = _png_stream(content) if content.startswith(_PNG) else b""
        with Image.open(io.BytesIO(content), formats=formats) as image:
            _require_plain_tiff(path, image)
            yield image
            if stream and not _last_row_filled(image) and _ends_early(stream, _inflated_size(content)):
                raise EOFError("pixels end before the last row")


def rgb(path: Path) -> np.ndarray:
    """(H, W, 3) of an image, upright by its EXIF: uint16 of 16-bit files, else uint8.

    Greyscale is expanded, alpha is dropped. Raises DataError as `opened`, and for an animation.
    """
    with opened_whole(path, PHOTOS) as image:
        require_still(path, image)
        turn = orientation(image)
        pixels = _deep_rgb(image) if is_deep(image) else np.array(image.convert("RGB"))
    return np.ascontiguousarray(_upright(pixels, turn))


def require_still(path: Path, image: Image.Image) -> None:
    """DataError for an animation."""
    if image.format not in ("MPO", "TIFF") and (frames := getattr(image, "n_frames", 1)) > 1:
        raise DataError(f"{path}: an animation of {frames} frames; keep one frame, as PNG")


def _require_plain_tiff(path: Path, image: Image.Image) -> None:
    """DataError for a TIFF of several pages, thumbnails aside, or of pixels that Pillow would take for others."""
    if not isinstance(image, TiffImageFile):
        return
    bits = tuple(image.tag_v2.get(_BITS, (1,)))
    if bits[0] > 16 or image.mode == "F":
        raise DataError(f"{path}: a TIFF of {bits[0]} bits a channel; save it with 8 or 16")
    if bits[0] > 8 and len(bits) > 1:
        raise DataError(f"{path}: a colour TIFF of {bits[0]} bits a channel; save it as PNG, or with 8 bits")
    if image.n_frames == 1:
        return
    pages = []
    for page in range(image.n_frames):
        image.seek(page)
        if not image.tag_v2.get(_REDUCED, 0) & 1:
            pages.append(f"{page + 1} of {image.width}x{image.height}")
    image.seek(0)
    if len(pages) > 1:
        raise DataError(
            f"{path}: a TIFF of several pages ({', '.join(pages)}); save the one that is the image alone"
        )


def is_deep(image: Image.Image) -> bool:
    """Whether an image that has not been decoded yet has 16 bits a channel."""
    raw = str(image.tile[0][3]) if isinstance(image, PngImageFile) and image.tile else ""
    return image.mode in _DEEP_GREY or raw.endswith(";16B")  # of colours, Pillow keeps the upper half


def _deep_rgb(image: Image.Image) -> np.ndarray:
    """uint16 (H, W, 3). From colours taken for little-endian, Pillow keeps the lower half: they are decoded twice."""
    if image.mode in _DEEP_GREY:
        return np.repeat(np.asarray(image).astype(np.uint16)[:, :, None], 3, axis=2)
    assert isinstance(image, PngImageFile)
    assert isinstance(image.fp, io.BytesIO)
    tile = image.tile[0]
    if str(tile[3]) == "LA;16B":  # four bytes a pixel: as if they were four channels of 8 bits
        image.tile = [tile._replace(args="RGBA")]
        both = np.asarray(image).astype(np.uint16)
        return np.repeat(both[:, :, :1] << 8 | both[:, :, 1:2], 3, axis=2)
    with PngImageFile(io.BytesIO(image.fp.getvalue())) as again:
        again.tile = [tile._replace(args=str(tile[3]).replace("16B", "16L"))]
        lower = np.asarray(again)[:, :, :3]
    return np.asarray(image)[:, :, :3].astype(np.uint16) << 8 | lower


def orientation(image: Image.Image) -> int:
    """By EXIF, 1 to 8; 1, upright, where the file says nothing that can be read. Before the pixels are decoded."""
    exif = image.info.get("exif")  # of a PNG, only if it lies before the pixels
    if image.format not in _TURNED or not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing; Pillow names no error for it
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    rows, columns, exchanged = _UPRIGHT.get(turn, (1, 1, False))
    pixels = pixels[::rows, ::columns]
    return pixels.swapaxes(0, 1) if exchanged else pixels


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) after EXIF orientation."""
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the file's header, after EXIF orientation: the size that `rgb` gives. Raises DataError as `opened`."""
    with opened(path, PHOTOS) as image:
        return upright_size(image)[::-1]


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such image; restore it, or remove it from the list of images") from None
    except Image.DecompressionBombError:
        raise too_large(path) from None
    except Exception as error:  # Pillow's decoders raise nearly everything for broken files
        if isinstance(error, PermissionError) and error.errno is None:  # the guard's: it is about the caller
            raise
        raise undecodable(path) from error


def _png_stream(content: bytes) -> bytes:
    """The compressed pixels of a PNG. Raises ValueError unless every chunk is whole and has its checksum."""
    view, position, parts = memoryview(content), len(_PNG), []
    while position + 12 <= len(view):
        end = position + 8 + int.from_bytes(view[position : position + 4], "big")
        kind, checked = bytes(view[position + 4 : position + 8]), view[position + 4 : end]
        if zlib.crc32(checked) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"wrong checksum of {kind!r}")
        if kind == b"IDAT":
            parts.append(checked[4:])
        if kind == b"IEND":
            return b"".join(parts)
        position = end + 4
    raise ValueError("no end")


def _last_row_filled(image: Image.Image) -> bool:
    """Whether the row that a PNG's pixels end with is not black, as Pillow leaves what is missing."""
    width, height = image.size
    return image.crop((0, height - 1, width, height)).getbbox() is not None


def _ends_early(stream: bytes, size: int) -> bool:
    """Whether a compressed stream holds fewer bytes, or breaks off; it may go on for gigabytes, which are left."""
    inflating = zlib.decompressobj()
    rows = inflating.decompress(stream, size + 1)
    return len(rows) < size or (len(rows) == size and not inflating.eof)


def _inflated_size(content: bytes) -> int:
    """Bytes of a PNG's rows, by its header."""
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    bits = content[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[content[25]]
    passes = _ADAM7 if content[28] else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes)
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
