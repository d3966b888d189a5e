"""What turning downloads into a data set's layout needs, whichever data set it is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from datasets.base import DataError
from datasets.files.archives import Member, members, unlike, unpack
from datasets.files.listing import first_names, is_litter

DOWNLOAD_AGAIN = "download it again, or add --partial if it is to be a subset"
SPARE = 200_000_000
"""Bytes that are to stay free."""


class Progress(Protocol):
    """A display of how far something is."""

    def start(self, total: int, unit: str, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    archives: downloads, in any order; to: folder of the result
    partial:  whether fewer images than the official ones are accepted
    any_size: whether archives may unpack to many times their size
    show:     makes the progress display of a titled piece of work; say: prints a line
    """

    archives: Sequence[Path]
    to: Path
    partial: bool
    show: Callable[[str], Progress]
    say: Callable[[str], None]
    any_size: bool = False

    def require_count(self, what: str, found: int, official: int) -> None:
        """DataError unless there are as many as there should be, or a subset will do."""
        if found == official:
            return
        fault = f"{what}: {found} found, {official} expected"
        if not self.partial or found > official or not found:
            raise DataError(f"{fault}; {DOWNLOAD_AGAIN}")
        self.say(f"subset: {fault}")

    def require_all(self, what: str, missing: Sequence[str], of: int) -> None:
        """DataError that counts and names ids without a file; subsets must be whole too."""
        if missing:
            raise DataError(
                f"{len(missing)} of {of} {what} are missing ({first_names(sorted(missing))});"
                " give the archive that holds them, too, or download it again"
            )

    def require_space(self, needed: int) -> None:
        """DataError if the disk with `to` has not this many bytes left."""
        place = self.to.absolute()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if needed + SPARE > free:
            raise DataError(
                f"--to {self.to}: {(needed + SPARE) / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free;"
                " free some space, or choose another disk"
            )


@dataclass(frozen=True)
class Kind:
    """A sort of download: `name` as its owners call it, and which members are of use.

    pattern: searched for in members' names; the first group is where the member goes, below the result's folder;
             None in place of a folder for what is converted and not unpacked
    """

    name: str
    pattern: re.Pattern[str]
    folder: str | None


@dataclass
class Download:
    """What an archive holds of one kind: its useful members and their groups of the pattern."""

    path: Path
    kind: Kind
    found: dict[str, re.Match[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def recognise(request: Request, kinds: Sequence[Kind]) -> list[Download]:
    """What each archive is, by what it holds and not by its name: one of several kinds packed together is each.

    Raises DataError for one that is none of them.
    """
    return [download for archive in request.archives for download in _recognised(request, archive, kinds)]


def _recognised(request: Request, archive: Path, kinds: Sequence[Kind]) -> list[Download]:
    files = members(archive, request.any_size)
    downloads = [_members_of(kind, archive, files) for kind in kinds]
    if found := [download for download in downloads if download.found]:
        return found
    example = f"; it begins with {files[0].name}" if files else "; it is empty"
    raise DataError(f"{archive}: none of {', '.join(kind.name for kind in kinds)}{example}")


def _members_of(kind: Kind, archive: Path, files: Sequence[Member]) -> Download:
    download = Download(archive, kind)
    for member in files:
        if any(map(is_litter, Path(member.name).parts)):
            continue
        if match := kind.pattern.search(member.name):
            download.found[member.name], download.sizes[member.name] = match, member.size
    return download


def unpack_all(request: Request, downloads: Sequence[Download], extra: int = 0) -> None:
    """Unpack what is not in place yet, after a look at the disk; in place are files with the archive's content.

    extra: bytes that will be needed besides
    """
    todo: list[tuple[Download, dict[str, Path]]] = []
    for download in downloads:
        if (folder := download.kind.folder) is None:
            continue
        places = {name: request.to / folder / match[1] for name, match in download.found.items()}
        missing = {n: p for n, p in places.items() if _size(p) != download.sizes[n]}
        damaged = unlike(download.path, {n: p for n, p in places.items() if n not in missing})
        if damaged:
            request.say(
                f"{download.path.name}: {len(damaged)} files are damaged ({first_names(sorted(damaged))})"
            )
        todo.append((download, missing | {name: places[name] for name in damaged}))
    total = sum(download.sizes[name] for download, places in todo for name in places)
    request.require_space(total + extra)
    for download, missing in todo:
        if not missing:
            request.say(f"{download.path.name}: {len(download.found)} files in place")
            continue
        progress = request.show(f"{download.path.name} · unpacking")
        progress.start(len(download.found), "files", len(download.found) - len(missing))
        try:
            unpack(download.path, missing, progress.advance)
        finally:
            progress.stop()
        request.say(f"{download.path.name}: {len(missing)} files unpacked")


def _size(path: Path) -> int:
    """Bytes of a file, -1 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
