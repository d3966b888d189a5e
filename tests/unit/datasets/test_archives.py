"""Archives: files in place are held against them, and those made to fill the disk, or to wait for ever, are refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.files import archives
from datasets.files.archives import members, unlike, unpack

FILES = {"a.txt": b"content of a", "deeper/b.txt": b"content of b"}


@pytest.fixture(params=["zip", "tar", "tgz"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return packed(tmp_path / f"archive.{request.param}", FILES)


def packed(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_files_damaged_at_the_same_size_are_found(archive, tmp_path):
    places = {name: tmp_path / "to" / name for name in FILES}
    unpack(archive, places, lambda count: None)
    assert unlike(archive, places) == set()
    (tmp_path / "to" / "deeper" / "b.txt").write_bytes(b"Content of b")
    assert unlike(archive, places) == {"deeper/b.txt"}
    assert unlike(archive, {"a.txt": places["a.txt"]}) == set()


@pytest.mark.parametrize("suffix", ["zip", "tgz"])
def test_what_is_made_to_fill_the_disk_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(archives, "SMALL", 10**6)
    bomb = packed(tmp_path / f"bomb.{suffix}", {"a.txt": bytes(8 * 10**6)})
    with pytest.raises(DataError, match=r"bomb\.\w+: unpacks to more than 200 times its size, .*--any-size"):
        members(bomb)
    assert [member.size for member in members(bomb, any_size=True)] == [8 * 10**6]
    small = packed(tmp_path / f"small.{suffix}", {"a.txt": bytes(10**6 - 512)})  # and a header
    assert len(members(small)) == 1


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
