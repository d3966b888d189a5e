"""Archives: files in place are held against them, and those made to fill the disk, or to wait for ever, are refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.files import archives
from datasets.files.archives import contents, members, unlike, unpack

FILES = {
    "a.txt": b"content of a",
    "deeper/b.txt": b"content of b",
    "empty": b"",
    "c": bytes(range(256)) * 200,
}
ZIPS = {"zip": zipfile.ZIP_DEFLATED, "bzip2.zip": zipfile.ZIP_BZIP2, "lzma.zip": zipfile.ZIP_LZMA}
TARS = {"tar": "w", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


@pytest.fixture(params=[*ZIPS, *TARS])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return packed(tmp_path / f"archive.{request.param}", FILES)


def packed(path: Path, files: dict[str, bytes]) -> Path:
    kind = path.name.partition(".")[2]
    if kind in ZIPS:
        with zipfile.ZipFile(path, "w", ZIPS[kind]) as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, TARS[kind]) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_files_damaged_at_the_same_size_are_found(archive, tmp_path):
    places = {name: tmp_path / "to" / name for name in FILES}
    unpack(archive, places, lambda count: None)
    assert {name: place.read_bytes() for name, place in places.items()} == FILES
    assert dict(contents(archive, FILES)) == FILES
    assert unlike(archive, places) == set()
    (tmp_path / "to" / "deeper" / "b.txt").write_bytes(b"Content of b")
    assert unlike(archive, places) == {"deeper/b.txt"}
    assert unlike(archive, {"a.txt": places["a.txt"]}) == set()


@pytest.mark.parametrize("suffix", [*ZIPS, "tgz", "tar.bz2", "tar.xz"])
def test_what_is_made_to_fill_the_disk_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archives, "SMALL", 10**6)
    bomb = packed(tmp_path / f"bomb.{suffix}", {"a.txt": bytes(8 * 10**6)})
    with pytest.raises(
        DataError, match=r"bomb\.[\w.]+: unpacks to more than 200 times its size, .*--any-size"
    ):
        members(bomb)
    assert [member.size for member in members(bomb, any_size=True)] == [8 * 10**6]
    small = packed(
        tmp_path / f"small.{suffix}", {"a.txt": bytes(10**6 - 20_000)}
    )  # and what a tar has around it
    assert len(members(small)) == 1


@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_that_announces_less_than_it_unpacks_to_fills_no_memory(tmp_path, kind):
    path = packed(tmp_path / f"bomb.{kind}", {"a.txt": bytes(2 * 10**7)})
    content, size = bytearray(path.read_bytes()), (2 * 10**7).to_bytes(4, "little")
    assert content.count(size) == 2  # in the file's header, and in the list at the end
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    assert [member.size for member in members(path)] == [1000]
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"damaged \(Bad CRC-32 for file 'a.txt'\); download it again"):
            unpack(path, {"a.txt": tmp_path / "a.txt"}, lambda count: None)
        assert tracemalloc.get_traced_memory()[1] < 10**7  # and not 20
    finally:
        tracemalloc.stop()


def read_all(path: Path, place: Path) -> None:
    members(path)
    unpack(path, {"a.txt": place}, lambda count: None)


@pytest.mark.parametrize("kind", [*ZIPS, "tgz", "tar.bz2", "tar.xz"])
def test_a_damaged_stream_is_one_line(tmp_path, kind):
    path = packed(tmp_path / f"damaged.{kind}", {"a.txt": os.urandom(3000)})
    content = bytearray(path.read_bytes())
    content[300:400] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"(damaged \(.+\)|neither .* or cut off); download it again"):
        read_all(path, tmp_path / "a.txt")


def header(name: str, size: int, kind: bytes) -> bytes:
    """A header of a tar, which the next `size` bytes belong to."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


FIRST = header("a.txt", 0, tarfile.REGTYPE)
SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (FIRST + header("x", 9 * 10**6, tarfile.GNUTYPE_LONGNAME) + bytes(9 * 10**6), "a header of 9 MB"),
        (FIRST + header("x", 9 * 10**6, tarfile.XHDTYPE) + bytes(9 * 10**6), "a header of 9 MB"),
        (header("x", 9 * 10**6, tarfile.XGLTYPE) + bytes(9 * 10**6), "neither a tar nor a zip archive"),
        (FIRST + header("x", 0, tarfile.GNUTYPE_SPARSE), "a sparse file"),
        (
            FIRST + header("x", len(SPARSE), tarfile.XHDTYPE) + SPARSE.ljust(512, b"\0")
            + header("x", 10**6, tarfile.REGTYPE) + b"9999999\n" + b"1\n" * 10**6,
            "a sparse file",
        ),
        (FIRST * 3000, "unpacks to more than 200 times its size"),
        (FIRST + header("x", 9 * 10**6, b"Z") + bytes(9 * 10**6), "unpacks to more than 200 times its size"),
    ],
)  # fmt: skip
def test_headers_made_to_fill_the_memory_are_refused(tmp_path, monkeypatch, content, words):
    monkeypatch.setattr(archives, "SMALL", 10**6)
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb") as file:
        file.write(content)
    with pytest.raises(DataError, match=words):
        members(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(DataError, match=r"pipe\.tar: a pipe, socket or device, not an archive"):
        members(tmp_path / "pipe.tar")
