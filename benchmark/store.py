"""Content-addressed artifacts: written aside, renamed, manifest last; resumable; safe with concurrent runs.

<root>/artifacts/<stage>/<key>/manifest.json + files      finished, never written again
<root>/work/<stage>/<key>/                                 in progress, kept after a kill
<root>/locks/<key>.lock
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

SCRATCH = ".scratch"
"""Folder inside a work directory for checkpoints and shard markers; it is not part of the artifact."""


def content_key(parts: Mapping[str, Any]) -> str:
    """Key of plain data: SHA-256 of its canonical JSON, 24 hex digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Entry:
    """A finished artifact and what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        return sum(f["bytes"] for f in self.manifest["files"].values())


class Store:
    """Artifacts under one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        return self.root / "artifacts" / stage / key

    def find(self, stage: str, key: str) -> Entry | None:
        """The finished artifact, or None. A folder without a whole manifest is unfinished."""
        path = self.path(stage, key)
        try:
            manifest = json.loads((path / "manifest.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return Entry(path, manifest)

    def touch(self, stage: str, key: str) -> None:
        """Make an artifact young, if it exists: a run is going to read it. See `benchmark.commands.prune`."""
        with suppress(FileNotFoundError):
            os.utime(self.path(stage, key))

    def artifacts(self, key: str) -> Iterator[Path]:
        """Manifests of the finished artifacts of a key, whatever their stage; "*" for all."""
        return self.root.glob(f"artifacts/*/{key}/manifest.json")

    @contextmanager
    def building(
        self, stage: str, key: str, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[Path | None]:
        """Lock the key and yield its work directory, or None if another run finished it meanwhile.

        waiting: called when another run holds the lock, before waiting for it
        """
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        with lock:
            lock.release()  # the `with` has taken it a second time
            if self.find(stage, key) is not None:
                yield None
                return
            work = self.work_path(stage, key)
            (work / SCRATCH).mkdir(parents=True, exist_ok=True)
            yield work

    def work_path(self, stage: str, key: str) -> Path:
        """Where an artifact is made before it is committed."""
        return self.root / "work" / stage / key

    def commit(self, stage: str, key: str, work: Path, manifest: Mapping[str, Any]) -> Entry:
        """Turn a work directory into an artifact; its scratch folder and what a kill left half-written go."""
        for torn in work.rglob("*.tmp"):
            torn.unlink()
        files = {
            p.relative_to(work).as_posix(): {"sha256": file_hash(p), "bytes": p.stat().st_size}
            for p in sorted(work.rglob("*"))
            if p.is_file() and p.name != "manifest.json" and SCRATCH not in p.relative_to(work).parts
        }
        created = datetime.now(UTC).isoformat(timespec="seconds")
        full = {**manifest, "stage": stage, "key": key, "created": created, "files": files}
        temporary = work / "manifest.tmp"
        temporary.write_text(json.dumps(full, indent=1, sort_keys=True, default=str))
        temporary.replace(work / "manifest.json")
        final = self.path(stage, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / SCRATCH)  # not before the disk has taken everything: checkpoints are dear
        shutil.rmtree(final, ignore_errors=True)  # an unfinished folder: see `find`
        work.replace(final)
        return Entry(final, full)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, also where a library has wrapped it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):  # safetensors, pyarrow
            return True
        error = error.__cause__ or error.__context__
    return False


def file_hash(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
