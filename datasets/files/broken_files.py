"""What is wrong with an image file that its decoder refused, in words for people and not in the decoder's."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from datasets.base import DataError
from datasets.files.listing import READ

_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_TIFF, _JPEG2000 = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_TAIL = 64
"""Bytes at the end in which an end marker is looked for: some cameras write a few more behind it."""


def undecodable(path: Path) -> DataError:
    """The error for a file that could not be decoded: file, fault and remedy in one line."""
    fault, remedy = _diagnosis(path)
    return DataError(f"{path}: cannot be decoded: {fault}; {remedy}, or take it off the list")


def too_large(path: Path) -> DataError:
    """The error for a file whose header names more pixels than Pillow opens."""
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
    return DataError(f"{path}: more than {limit} million pixels; reduce it or cut it into parts")


def _diagnosis(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            head = file.read(16)
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
    except OSError as error:
        return f"it cannot be read ({error.strerror})", "make it readable"
    if not head:
        return "the file is empty", "copy it again"
    if head.startswith(_JPEG):
        kind, whole = "JPEG", b"\xff\xd9" in tail
    elif head.startswith(_PNG):
        kind, whole = "PNG", b"IEND" in tail
    elif head.startswith(_RIFF) and head[8:12] == b"WEBP":
        kind, whole = "WebP", int.from_bytes(head[4:8], "little") + 8 <= size
    elif head.startswith(b"BM"):
        kind, whole = "BMP", int.from_bytes(head[2:6], "little") <= size
    elif head.startswith(_TIFF):
        return "the TIFF is damaged, breaks off, or is of an unusual kind", "copy it again or save it as PNG"
    elif head.startswith(_JPEG2000):
        kind, whole = "JPEG 2000", b"\xff\xd9" in tail
    else:
        return f"it is not {READ}, whatever its name says", "convert it to PNG"
    if not whole:
        return f"the {kind} is truncated, it breaks off after {size} bytes", "copy it again"
    return f"the {kind} is damaged, or of an unusual kind", "copy it again or save it anew as PNG"
