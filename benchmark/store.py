"""Content-addressed artifacts: written aside, renamed, manifest last; resumable; safe with concurrent runs.

<root>/artifacts/<stage>/<key>/manifest.json + files      finished, never written again
<root>/work/<stage>/<key>/                                 in progress, kept after a kill
<root>/damaged/<stage>/<key>-<n>/                          set aside: files were not what their manifest says
<root>/discarded/<stage>/<key>/                            what is left of an artifact that a run has discarded
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

from benchmark.console import console
from datasets.base import DataError
from datasets.files.fingerprints import file_digests
from datasets.files.sealed import read_sealed, sealed

DISCARDED, REMOVED = "discarded", "removed"
"""Folders of what is left of discarded artifacts, and of what is being deleted."""
PICTURES = "pictures"
"""Folder of an artifact with its pictures of a few examples (`methods.pictures`)."""
SCRATCH = ".scratch"
"""Folder inside a work directory for checkpoints and shard markers; it is not part of the artifact."""


def content_key(parts: Mapping[str, Any]) -> str:
    """Key of plain data: SHA-256 of its canonical JSON, 24 hex digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class StoredArtifact:
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
        self._verified: set[Path] = set()

    def path(self, stage: str, key: str) -> Path:
        return self.root / "artifacts" / stage / key

    def find(self, stage: str, key: str) -> StoredArtifact | None:
        """The finished artifact, or None. A folder without a whole manifest is unfinished. Files: see `intact`."""
        path = self.path(stage, key)
        try:
            return StoredArtifact(path, read_manifest(path / "manifest.json"))
        except (OSError, ValueError):
            return None

    def intact(self, stage: str, key: str) -> StoredArtifact | None:
        """As `find`, for an artifact whose files are going to be opened: each has the SHA-256 that the manifest names.

        Looked at once a process; hashes of unchanged files are remembered between runs. A damaged artifact is set
        aside, said, and None: it is to be made again. Raises DataError where it cannot be moved.
        """
        path = self.path(stage, key)
        if path not in self._verified and path.is_dir() and (fault := _fault(path)):
            self._set_aside(stage, key, fault)
            return None
        self._verified.add(path)
        return self.find(stage, key)

    def _set_aside(self, stage: str, key: str, fault: str) -> None:
        path = self.path(stage, key)
        try:
            with self.lock(key).acquire(timeout=0):
                if not _fault(path):  # another run has made it again meanwhile
                    return
                folder = self.root / "damaged" / stage
                folder.mkdir(parents=True, exist_ok=True)
                place = next(p for n in range(10**6) if not (p := folder / f"{key}-{n}").exists())
                path.rename(place)
        except Timeout:  # who holds it is making it again
            return
        except OSError as error:
            raise DataError(
                f"{path}: damaged ({fault}) and cannot be set aside ({error.strerror}); remove this folder and run "
                "the same command again"
            ) from error
        console.print(f"{path}: damaged ({fault}); set aside in {place}", style="yellow", markup=False)

    @property
    def has_discarded(self) -> bool:
        return (self.root / DISCARDED).is_dir()

    def discarded(self, stage: str, key: str) -> StoredArtifact | None:
        """What is left of an artifact that was discarded: manifest, JSON files and pictures; None where none was."""
        path = self.root / DISCARDED / stage / key
        try:
            return StoredArtifact(path, read_manifest(path / "manifest.json"))
        except (OSError, ValueError):
            return None

    def discard(self, stage: str, key: str, leave: Callable[[Path], None]) -> StoredArtifact | None:
        """Take a finished artifact out of the store but for what `discarded` gives; returns it, to be deleted.

        leave: called with the folder of what is left, to add to it
        None, and it stays, where another run holds its key.
        """
        path, rest = self.path(stage, key), self.root / DISCARDED / stage / key
        gone, aside = (self.root / REMOVED / stage / f"{key}{end}" for end in ("", ".left"))
        try:
            with self.lock(key).acquire(timeout=0):
                if (artifact := self.find(stage, key)) is None:
                    return None
                for folder in (gone, aside):
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.parent.mkdir(parents=True, exist_ok=True)
                aside.mkdir()
                for file in path.glob("*.json"):
                    shutil.copy2(file, aside)
                if (path / PICTURES).is_dir():
                    shutil.copytree(path / PICTURES, aside / PICTURES)
                leave(aside)
                shutil.rmtree(rest, ignore_errors=True)
                rest.parent.mkdir(parents=True, exist_ok=True)
                aside.replace(rest)
                path.replace(gone)  # at once, so that no half of it is taken for whole
        except Timeout:
            return None
        self._verified.discard(path)
        return StoredArtifact(gone, artifact.manifest)

    def lock(self, key: str) -> FileLock:
        """What a run holds while it makes the artifact of a key."""
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock")

    def touch(self, stage: str, key: str) -> None:
        """Make an artifact young, if it exists: a run is going to read it. See `benchmark.commands.prune`.

        In a store that cannot be written it stays as it is: nobody prunes that.
        """
        with suppress(OSError):
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
        lock = self.lock(key)
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

    def commit(self, stage: str, key: str, work: Path, manifest: Mapping[str, Any]) -> StoredArtifact:
        """Turn a work directory into an artifact; its scratch folder and what a kill left half-written go."""
        for torn in work.rglob("*.tmp"):
            if torn.is_file():  # a folder of images may be called so
                torn.unlink()
        files = {
            p.relative_to(work).as_posix(): {"sha256": file_hash(p), "bytes": p.stat().st_size}
            for p in sorted(work.rglob("*"))
            if p.is_file() and p.name != "manifest.json" and SCRATCH not in p.relative_to(work).parts
        }
        created = datetime.now(UTC).isoformat(timespec="seconds")
        full = {**manifest, "stage": stage, "key": key, "created": created, "files": files}
        temporary = work / "manifest.tmp"
        temporary.write_text(json.dumps(sealed(full), indent=1, sort_keys=True))  # ASCII
        temporary.replace(work / "manifest.json")
        final = self.path(stage, key)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / SCRATCH)  # not before the disk has taken everything: checkpoints are dear
        shutil.rmtree(final, ignore_errors=True)  # an unfinished folder: see `find`
        work.replace(final)
        self._verified.add(final)
        return StoredArtifact(final, full)


def read_manifest(path: Path) -> dict[str, Any]:
    """What a manifest says. Raises ValueError where it is damaged, OSError as `open`."""
    manifest = read_sealed(path)
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(f, dict) and isinstance(f.get("sha256"), str) and isinstance(f.get("bytes"), int)
        for f in files.values()
    ):
        raise ValueError("it does not list the files")
    inputs = manifest.get("inputs", {})
    if not isinstance(inputs, dict) or not all(
        isinstance(k, str) for k in (manifest.get("key"), *inputs.values())
    ):
        raise ValueError("it does not say what it is of")
    return manifest


def _fault(path: Path) -> str:
    """What is wrong with a finished artifact; empty if nothing, or if it is unfinished."""
    try:
        files = read_manifest(path / "manifest.json")["files"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"manifest.json: {error}"
    for name, said in files.items():
        try:
            size = (path / name).stat().st_size
        except OSError as error:
            return f"{name}: {error.strerror}"
        if size != said["bytes"]:
            return f"{name} has {size} bytes instead of {said['bytes']}"
    try:
        found = file_digests([path / name for name in files])
    except DataError as error:
        return str(error)
    changed = [name for name, digest in zip(files, found) if digest != files[name]["sha256"]]
    return f"{changed[0]} is not what was stored" if changed else ""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, also where a library has wrapped it."""
    if has_errno(error, errno.ENOSPC, errno.EDQUOT):
        return True
    return any("No space left on device" in str(each) for each in _chain(error))  # safetensors, pyarrow


def has_errno(error: BaseException | None, *numbers: int) -> bool:
    """Whether one of the system's errors is behind an error, also where a library has wrapped it."""
    return any(isinstance(each, OSError) and each.errno in numbers for each in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def file_hash(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
