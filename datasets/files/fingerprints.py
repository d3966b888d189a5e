"""Content hashes of files, remembered between runs, and the fingerprints of data sets made from them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import platformdirs

from datasets.base import DataError, Dataset, Fingerprint
from datasets.files.cores import usable_cores

_log = logging.getLogger(__name__)

_SETTLED_NS = 2_000_000_000
"""A file younger than this is hashed but not remembered: a further write could leave size and times unchanged
(coarse clocks of some file systems tick every 2 s)."""

_ROWS = 500
"""Paths in one query (SQLite allows 999 parameters in old builds)."""


def content_fingerprint(files: Sequence[tuple[str, Path]], extra: str = "", cache: Path | None = None) -> str:
    """SHA-256 over `extra`, and over every file's id and bytes, in the order given; independent of the paths.

    files: (id, path) pairs
    extra: anything else that counts as content (labels, class names)
    cache: file of remembered hashes, `cache_file()` by default; safe under concurrent processes
    Raises DataError if a file cannot be read.
    """
    result = Fingerprint().add(extra)
    for (name, _), digest in zip(files, file_digests([path for _, path in files], cache), strict=True):
        result.add(name, digest)
    return result.hexdigest()


def dataset_fingerprint(
    dataset: Dataset,
    part: Literal["images", "masks"],
    split: str,
    originals: Mapping[Path, Path | None] | None = None,
    how: str = "",
) -> str:
    """What `Dataset.fingerprint` promises, for any data set whose images and masks are files.

    originals: for files made from others, what they were made from: its content counts (None: nothing's)
    how: the way they were made
    """
    originals = originals or {}
    if part == "images":
        samples = dataset.samples(split)
        extra = json.dumps([dataset.classes, [s.labels for s in samples]])
        images = [(s.id, originals.get(s.image, s.image)) for s in samples]
        return content_fingerprint(_existing(images), f"images {extra}{how}")
    files: list[tuple[str, Path | None]] = []
    for i in dataset.ids(split):
        maps = (("mask", dataset.mask_path(i)), ("context", dataset.context_path(i)))
        files += [(f"{kind} {i}", originals.get(path, path)) for kind, path in maps if path is not None]
    extra = json.dumps([dataset.classes, [[c.name, c.object_class, c.value] for c in dataset.contexts]])
    return content_fingerprint(_existing(files), f"masks {extra}{how}")


def _existing(files: Iterable[tuple[str, Path | None]]) -> list[tuple[str, Path]]:
    return [(name, path) for name, path in files if path is not None]


def file_digests(paths: Sequence[Path], cache: Path | None = None) -> list[str]:
    """SHA-256 of each file's bytes, as hexadecimal; read in parallel, and only where not remembered."""
    paths = [Path(os.path.abspath(p)) for p in paths]  # noqa: PTH100 - resolve() costs a system call a folder
    states = [_state(p) for p in paths]
    cache = cache or cache_file()
    known = _remembered(cache, map(str, paths))
    todo = [(p, s) for p, s in zip(paths, states, strict=True) if known.get(str(p), (None, ""))[0] != s]
    if todo:
        with ThreadPoolExecutor(max_workers=min(16, 2 * usable_cores())) as pool:
            digests = list(pool.map(_digest, (p for p, _ in todo)))
        fresh = {str(p): (s, d) for (p, s), d in zip(todo, digests, strict=True)}
        known.update(fresh)
        now = time.time_ns()
        _remember(cache, {p: e for p, e in fresh.items() if now - max(e[0][1:]) > _SETTLED_NS})
    return [known[str(p)][1] for p in paths]


def cache_file() -> Path:
    """Where hashes are remembered: the user's cache folder (`XDG_CACHE_HOME` on Linux)."""
    return Path(platformdirs.user_cache_dir("wsss-benchmark")) / "hashes.sqlite"


class _State(NamedTuple):
    """What tells that a file is unchanged; ctime catches a replacement that keeps size and mtime."""

    size: int
    mtime_ns: int
    ctime_ns: int


def _state(path: Path) -> _State:
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every image of a data set
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the data root") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            f"{path}: no regular file but a folder, pipe or device; put the file there, or remove it"
        )
    return _State(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the data root") from None


def _remembered(cache: Path, paths: Iterable[str]) -> dict[str, tuple[_State, str]]:
    if not cache.exists():
        return {}
    try:
        with closing(sqlite3.connect(cache, timeout=60)) as database:
            return {
                path: (_State(size, mtime, ctime), digest)
                for chunk in _chunks(list(dict.fromkeys(paths)))
                for path, size, mtime, ctime, digest in database.execute(
                    f"SELECT * FROM hashes WHERE path IN ({','.join('?' * len(chunk))})", chunk
                )
            }
    except sqlite3.Error as error:
        _log.warning("%s: hashes of files not reused (%s); delete this file if it stays so", cache, error)
        return {}


def _remember(cache: Path, entries: dict[str, tuple[_State, str]]) -> None:
    """One transaction; SQLite's own lock keeps concurrent processes apart."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(cache, timeout=60)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS hashes"
                " (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, digest TEXT)"
            )
            rows = [(path, *state, digest) for path, (state, digest) in entries.items()]
            database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)", rows)
    except (sqlite3.Error, OSError) as error:
        _log.warning("%s: hashes of files not remembered (%s); the next start reads all again", cache, error)


def _chunks(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _ROWS):
        yield items[start : start + _ROWS]
