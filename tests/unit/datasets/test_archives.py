"""Archives: files in place are held against them, and those made to fill the disk, or to wait for ever, are refused."""

from __future__ import annotations

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
    small = packed(tmp_path / f"small.{suffix}", {"a.txt": bytes(10**6)})
    assert len(members(small)) == 1


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(DataError, match=r"pipe\.tar: a pipe, socket or device, not an archive"):
        members(tmp_path / "pipe.tar")
