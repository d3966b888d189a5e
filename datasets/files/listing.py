"""Listings of folders with many files. Light to import."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from datasets.base import DataError

_PICTURES = ".jpg .jpeg .jpe .jfif .pjpeg .png .webp .bmp .dib .tif .tiff .jp2 .j2k .jpc .jpx"
PICTURES = frozenset(_PICTURES.split())
"""Endings, in lower case, of pictures that are read; JFIF is JPEG's own name."""
_UNREAD = """
    .gif .jxl .heic .heif .avif .ppm .pgm .pbm .pnm .tga .psd .dcm .exr .hdr .dng .raw .cr2 .cr3 .nef .arw
"""
UNREAD = frozenset(_UNREAD.split())
"""Of pictures that are not: found, to say so."""
READ = "JPEG, PNG, WebP, BMP, TIFF or JPEG 2000"
CONVERT = f"is not {READ}; convert it to PNG"
_LITTER = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found")
)


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left by a system and no part of any data: ``.DS_Store``, ``._a.png``,
    ``.ipynb_checkpoints``, ``Thumbs.db``, ..."""
    return name.startswith((".", "~$")) or name.lower() in _LITTER


def files_below(folder: Path) -> list[Path]:
    """Files in a folder and in those below, sorted, without `is_litter`; none if there is no such folder."""
    return sorted(path for path, hidden in _walk(folder) if not hidden)


def litter_below(folder: Path) -> list[Path]:
    """The files that `files_below` leaves out."""
    return sorted(path for path, hidden in _walk(folder) if hidden)


def litter_notes(*folders: Path) -> list[str]:
    """A line for `doctor` where files are left out."""
    found = [path.relative_to(folder).as_posix() for folder in folders for path in litter_below(folder)]
    return [f"{len(found)} hidden files ignored ({first_names(found)})"] if found else []


def pictures_below(folder: Path) -> list[Path]:
    """Pictures below a folder, those that are not read among them."""
    return [path for path in files_below(folder) if path.suffix.lower() in PICTURES | UNREAD]


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Every file, and whether it or a folder on the way to it is litter."""
    for place, _, names in os.walk(folder):
        here = Path(place)
        hidden = any(map(is_litter, here.relative_to(folder).parts))
        yield from ((here / name, hidden or is_litter(name)) for name in names)


def open_regular(path: Path) -> IO[bytes]:
    """The file, open to be read. Raises DataError for a pipe, socket or device, which may never come to an end; OSError
    as `open`."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(
            f"{path}: no regular file but a folder, pipe or device; put the file there, or remove it"
        )
    return path.open("rb")


def text_of(path: Path) -> str:
    """A file's text, in UTF-8 with or without a mark at its beginning. Raises as `open_regular`, and
    UnicodeDecodeError."""
    with open_regular(path) as file:
        return file.read().decode("utf-8-sig")


def names_in(folder: Path) -> frozenset[str]:
    """Names of what a folder holds; none if there is no such folder."""
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()  # noqa: PTH208 - names only


def first_names(names: Sequence[str], shown: int = 3) -> str:
    """``a, b, c and 7 more``"""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
