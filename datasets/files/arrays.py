"""NumPy's .npz files, read so that neither their members nor their headers can ask for more memory than is allowed."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Container
from io import BytesIO
from pathlib import Path

import numpy as np

BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of packing of which no more is unpacked at once than is asked for."""
_DAMAGED = (OSError, EOFError, KeyError, ValueError, TypeError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
            zlib.error, lzma.LZMAError)  # fmt: skip
"""What NumPy and `zipfile` raise of files that are cut short, empty, or something else."""


class ArraysError(ValueError):
    """Why an .npz is not read: a part of a line."""


def read_npz(path: Path, most: float, only: Container[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays by name, which cannot be written to.

    most: bytes that all arrays may have together; only: names of those that are read
    Raises ArraysError for what is no .npz, is damaged or larger, and for arrays of objects.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
            size = sum(member.file_size for member in members)
            if size > most:
                raise ArraysError(f"{size / 1e6:.0f} MB of arrays in {path.stat().st_size / 1e6:.1f} MB")
            if any(member.compress_type not in BOUNDED for member in members):
                raise ArraysError("packed in a way that NumPy does not write")
            named = ((member.filename.removesuffix(".npy"), member) for member in members)
            return {
                name: _array(packed.open(member).read(member.file_size))
                for name, member in named
                if only is None or name in only
            }
    except ArraysError:
        raise
    except _DAMAGED as error:
        raise ArraysError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error


def _array(content: bytes) -> np.ndarray:
    """The array in an .npy file; NumPy's own reader makes room for what the header says before it looks."""
    file = BytesIO(content)
    header = np.lib.format
    read = header.read_array_header_1_0 if header.read_magic(file) == (1, 0) else header.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ArraysError("it pickles objects, and nothing here unpickles data")
    return np.ndarray(shape, dtype, content, file.tell(), order="F" if fortran else "C")
