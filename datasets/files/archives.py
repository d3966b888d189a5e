"""Tar and zip archives: what is in them, and single members unpacked, each complete or not at all.

Members' names never become paths: whoever unpacks says where each goes, so that no archive can write elsewhere.
Only regular files count; links, devices and folders are passed over.
"""

from __future__ import annotations

import bz2
import copy
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
from typing import IO, Any, NamedTuple

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


_END_IS_MARKED = 2
"""Flag of a zip's file: its LZMA says itself where it ends."""


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
                    if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES:  # which have data, too
                        allowed = _less(archive, allowed, header.size)
                _require_end(tar)
                assert tar.fileobj is not None
                while rest := tar.fileobj.read(1 << 20):  # the checksum of what is compressed is behind it
                    allowed = _less(archive, allowed, len(rest))
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
    files, or within a header, for whole. Compressed ones have a checksum at their end, which `members` reads."""
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
                        file = _open_in_zip(zipped, info)
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


def _open_in_zip(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A file in a zip, of which no more is unpacked at once than is asked for. `zipfile` unpacks a MB of bzip2 or LZMA
    whole, whatever size is announced, and such a MB can fill any memory."""
    if info.compress_type not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return zipped.open(info)
    as_packed = copy.copy(info)
    as_packed.compress_type, as_packed.file_size = zipfile.ZIP_STORED, info.compress_size
    as_packed.CRC = None  # type: ignore[assignment]  # it is of what is unpacked
    packed = zipped.open(as_packed)
    if info.compress_type == zipfile.ZIP_BZIP2:
        return io.BufferedReader(_Checked(bz2.BZ2File(packed), info))
    # two bytes of version, two that say five, and five of settings, which a .lzma begins with, too
    start = packed.read(9)
    if start[2:4] != b"\x05\x00":
        raise zipfile.BadZipFile(f"settings of LZMA for {info.filename!r}")
    marked = info.flag_bits & _END_IS_MARKED
    alone = _After(start[4:] + (b"\xff" * 8 if marked else info.file_size.to_bytes(8, "little")), packed)
    return io.BufferedReader(_Checked(lzma.LZMAFile(io.BufferedReader(alone)), info))


class _After(io.RawIOBase):
    """`start`, and then a file."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start, self._file = start, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        part = self._start[: len(buffer)] or self._file.read(len(buffer))
        self._start = self._start[len(part) :]
        buffer[: len(part)] = part
        return len(part)


class _Checked(io.RawIOBase):
    """A file in a zip as it is unpacked: BadZipFile at its end unless it is what the zip says, in size and CRC."""

    def __init__(self, file: IO[bytes], info: zipfile.ZipInfo) -> None:
        self._file, self._info, self._left, self._crc = file, info, info.file_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        part = self._file.read(min(len(buffer), self._left))
        self._left -= len(part)
        self._crc = zlib.crc32(part, self._crc)
        if not part and (self._left or self._crc != self._info.CRC):
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._info.filename!r}")
        buffer[: len(part)] = part
        return len(part)


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
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DataError(f"{archive}: damaged ({error}); download it again") from error  # as `bz2` says it
