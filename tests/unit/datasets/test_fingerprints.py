"""Hashes of files are remembered, and never outlive a change."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.files import fingerprints
from datasets.files.fingerprints import content_fingerprint, file_digests


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "hashes.sqlite"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose bytes were read."""
    seen: list[Path] = []
    digest = fingerprints._digest

    def counted(path: Path) -> str:
        seen.append(path)
        return digest(path)

    monkeypatch.setattr(fingerprints, "_digest", counted)
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", -1)
    return seen


def write(folder: Path, count: int = 1200) -> list[tuple[str, Path]]:
    folder.mkdir(exist_ok=True)
    files = [(f"image{i}", folder / f"{i}.bin") for i in range(count)]
    for i, (_, path) in enumerate(files):
        path.write_bytes(i.to_bytes(4, "big"))
    return files


def test_a_second_time_reads_only_what_changed(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    files = write(tmp_path / "data")
    first = content_fingerprint(files, "x", cache)
    assert len(reads) == 1200
    assert content_fingerprint(files, "x", cache) == first
    assert len(reads) == 1200
    files[7][1].write_bytes(b"other")
    assert content_fingerprint(files, "x", cache) != first
    assert reads[1200:] == [files[7][1]]


def test_same_size_and_mtime_is_not_enough(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    (_, path), *_ = files = write(tmp_path / "data", 2)
    first = content_fingerprint(files, "", cache)
    state = path.stat()
    path.write_bytes(b"abcd")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content_fingerprint(files, "", cache) != first


def test_young_files_are_not_remembered(tmp_path: Path, cache: Path) -> None:
    files = write(tmp_path / "data", 2)
    content_fingerprint(files, "", cache)
    assert fingerprints._remembered(cache, [str(p) for _, p in files]) == {}


def test_ids_order_and_extra_count_paths_do_not(tmp_path: Path, cache: Path) -> None:
    here, there = write(tmp_path / "here", 3), write(tmp_path / "there", 3)
    first = content_fingerprint(here, "x", cache)
    assert content_fingerprint(there, "x", cache) == first
    assert content_fingerprint(here, "y", cache) != first
    assert content_fingerprint(here[::-1], "x", cache) != first
    assert content_fingerprint([("other", here[0][1]), *here[1:]], "x", cache) != first


def test_a_broken_cache_costs_time_only(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write(tmp_path / "data", 3)
    expected = content_fingerprint(files, "", tmp_path / "other.sqlite")
    cache.parent.mkdir()
    cache.write_bytes(b"not a database, but long enough to have a header" * 10)
    assert content_fingerprint(files, "", cache) == expected
    assert "hashes of files not reused" in caplog.text


def test_a_missing_file_is_one_line(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read \(No such file"):
        file_digests([tmp_path / "gone.jpg"], cache)


def test_concurrent_writers(tmp_path: Path, cache: Path, reads: list[Path]) -> None:
    files = write(tmp_path / "data", 200)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(content_fingerprint(files, "", cache))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
