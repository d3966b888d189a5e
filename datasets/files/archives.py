"""Tar and zip archives: what is in them, and single members unpacked, each complete or not at all.

Members' names never become paths: whoever unpacks says where each goes, so that no archive can write elsewhere.
Only regular files count; links, devices and folders are passed over.
"""

from __future__ import annotations

import gzip
import io
import lzma
import math
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from datasets.base import DataError

_FAULTS = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError,
           NotImplementedError, RuntimeError)  # fmt: skip
"""What damaged, truncated, encrypted and unusual archives raise."""


MOST_TIMES, SMALL = 200, 10**8
"""Archives unpack to at most so many times their size, or so many bytes."""


_NAMING = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
           tarfile.SOLARIS_XHDTYPE)  # fmt: skip
"""Types of a tar's headers that say more of the next file, which `tarfile` reads at once."""
_LONGEST_HEADER = 10**6
"""Bytes of them."""


class Member(NamedTuple):
    """A file in an archive: its name there and its size in bytes."""

    name: str
    size: int


def members(archive: Path, any_size: bool = False) -> list[Member]:
    """The files of an archive, in its order.

    any_size: accept that they are many times as large as the archive
    Raises DataError for a file that is missing, no archive, damaged or made to fill the disk, and for names that lead
    out of a folder.
    """
    found: list[Member] = []
    with _reading(archive):
        allowed = math.inf if any_size else max(SMALL, MOST_TIMES * archive.stat().st_size)
        if _is_zip(archive):
            with zipfile.ZipFile(archive) as zipped:
                for info in zipped.infolist():
                    if not info.is_dir():
                        found.append(Member(info.filename, info.file_size))
                        allowed = _less(archive, allowed, info.file_size)
        else:
            with tarfile.open(archive, tarinfo=_Header) as tar:
                for header in _headers(archive, tar):  # each before what it announces is unpacked
                    allowed = _less(archive, allowed, tarfile.BLOCKSIZE)
                    if header.isreg():
                        found.append(Member(header.name, header.size))
                        allowed = _less(archive, allowed, header.size)
                _require_end(tar)
    for member in found:
        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise DataError(
                f"{archive}: holds {member.name!r}, which leads out of the folder; do not trust it"
            )
    return found


class _Header(tarfile.TarInfo):
    """ReadError for headers that would fill the memory: sparse files, which list their parts there, and names of
    gigabytes."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        if self.type in _NAMING and self.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size / 1e6:.0f} MB")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _proc_gnusparse_10(self, *arguments: object) -> None:
        raise tarfile.ReadError("a sparse file")


def _headers(archive: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """One after the other; `tarfile` itself keeps those of all that was read in memory."""
    while True:
        with _reading(archive):
            header = tar.next()
        if header is None:
            return
        tar.members = []  # type: ignore[attr-defined]
        yield header


def _less(archive: Path, allowed: float, size: int) -> float:
    if size > allowed:
        raise DataError(
            f"{archive}: unpacks to more than {MOST_TIMES} times its size, as archives do that are made to fill disks;"
            " download it again, or add --any-size if it is to be so"
        )
    return allowed - size


def unlike(archive: Path, places: Mapping[str, Path]) -> set[str]:
    """Names of the files in place (name -> path) whose content is not the archive's. Raises DataError as `members`."""
    if not places:
        return set()
    if _is_zip(archive):
        with _reading(archive), zipfile.ZipFile(archive) as zipped:
            return {
                i.filename
                for i in zipped.infolist()
                if i.filename in places and _crc(places[i.filename]) != i.CRC
            }
    found = set()
    for name, file in _opened(archive, places):
        with _reading(archive):
            packed = _crc_of(file)
        if packed != _crc(places[name]):
            found.add(name)
    return found


def _crc(path: Path) -> int:
    with path.open("rb") as file:
        return _crc_of(file)


def _crc_of(file: IO[bytes]) -> int:
    found = 0
    while part := file.read(1 << 20):
        found = zlib.crc32(part, found)
    return found


def _require_end(tar: tarfile.TarFile) -> None:
    """ReadError unless the block of zeros follows that ends a tar: `tarfile` takes one that breaks off between two
    files, or within a header, for whole. Compressed ones have a checksum at their end."""
    if isinstance(tar.fileobj, io.BufferedReader):
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it breaks off")


def contents(archive: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the wanted files, in the archive's order. Raises DataError as `members`."""
    for name, file in _opened(archive, wanted):
        with _reading(archive):
            content = file.read()
        yield name, content


def unpack(archive: Path, places: Mapping[str, Path], advance: Callable[[int], object]) -> None:
    """Write files of an archive to `places` (name -> path), each aside and then renamed.

    advance: called with 1 after every file. Raises DataError as `members`.
    """
    for name, file in _opened(archive, places):
        place = places[name]
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f"{place.name}.tmp")
        with temporary.open("wb") as out, _reading(archive):
            shutil.copyfileobj(file, out, 1 << 20)
        temporary.replace(place)
        advance(1)


def _opened(archive: Path, wanted: Collection[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The wanted files, open one after the other; a tar is read once from its beginning."""
    names = frozenset(wanted)
    if _is_zip(archive):
        with _reading(archive):
            zipped = zipfile.ZipFile(archive)
        with zipped:
            for info in zipped.infolist():
                if info.filename in names:
                    with _reading(archive):
                        file = zipped.open(info)
                    with file:
                        yield info.filename, file
        return
    with _reading(archive):
        tar = tarfile.open(archive, tarinfo=_Header)  # noqa: SIM115 - closed below
    with tar:  # where the caller's errors are not taken for its
        for header in _headers(archive, tar):
            if header.isreg() and header.name in names:
                file_or_none = tar.extractfile(header)
                assert file_or_none is not None  # it is regular
                yield header.name, file_or_none


def _is_zip(archive: Path) -> bool:
    if archive.exists() and not archive.is_file() and not archive.is_dir():  # would wait for its end for ever
        raise DataError(f"{archive}: a pipe, socket or device, not an archive; give the downloaded file")
    if zipfile.is_zipfile(archive):
        return True
    try:
        tarfile.open(archive, tarinfo=_Header).close()
    except tarfile.TarError:
        raise DataError(
            f"{archive}: neither a tar nor a zip archive, or cut off; download it again"
        ) from None
    return False


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turns what broken archives raise into one line."""
    try:
        yield
    except _FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive}: damaged ({reason}); download it again") from error
    except FileNotFoundError as error:
        if error.filename is not None and Path(error.filename) == archive:
            raise DataError(f"{archive}: no such file; give the path of a downloaded archive") from None
        raise
    except IsADirectoryError:
        raise DataError(f"{archive}: a folder, not an archive; give the downloaded file") from None
