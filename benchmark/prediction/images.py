"""Which images `predict` segments: of a folder, of a list, of standard input, or new ones of a folder that is watched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.prediction.finished import state_of
from datasets.files.listing import PICTURES, UNREAD, files_below, first_names, is_litter

STDIN = Path("-")
PAUSE = 0.5
"""Seconds between two looks at a folder that is watched."""


@dataclass(frozen=True)
class Images:
    """Files to be segmented.

    base: folder below which they are, and from which results are named; said: where they come from, for people
    """

    base: Path
    paths: tuple[Path, ...]
    said: str


def find_images(source: Path, recursive: bool, outputs: Sequence[Path]) -> Images:
    """The images that `--images` names: those of a folder, one image, those that a list file or standard input names.

    recursive: also those in a folder's subfolders; outputs: what an earlier call may have written, left out
    Raises ConfigError where there are none.
    """
    if source == STDIN:
        return _listed(sys.stdin.read(), "standard input")
    if source.is_dir():
        return _in_folder(source, recursive, outputs)
    if not source.exists():
        raise ConfigError(
            f"--images {source}: nothing there; give a folder, an image, a list of files, or - for one on"
            " standard input"
        )
    if source.suffix.lower() in PICTURES | UNREAD:
        return Images(source.parent, (source,), str(source))
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(
            f"--images {source}: neither an image nor a list of files in UTF-8; give a folder, or a text with"
            " a path a line"
        ) from None
    return _listed(text, str(source))


def _in_folder(folder: Path, recursive: bool, outputs: Sequence[Path]) -> Images:
    files = _files(folder, outputs)
    deeper = {path for path in files if path.parent != folder and _is_picture(path)}
    taken = [path for path in files if recursive or path.parent == folder]
    pictures = tuple(path for path in taken if _is_picture(path))
    subfolders = _counted(len({path.parent for path in deeper}), "subfolder")
    if not pictures:
        below = f" directly in it, {len(deeper)} in {subfolders}; add --recursive" if deeper else " there"
        raise ConfigError(f"--images {folder}: no image files ({', '.join(sorted(PICTURES))}){below}")
    if others := [path.relative_to(folder).as_posix() for path in taken if not _is_picture(path)]:
        said = "is no picture" if len(others) == 1 else "are no pictures"
        console.print(f"note: {_counted(len(others), 'file')} {said} ({first_names(others)})", markup=False)
    if deeper and not recursive:
        pictures_there = _counted(len(deeper), "picture")
        console.print(
            f"note: left out: {pictures_there} in {subfolders}; --recursive takes them, too", markup=False
        )
    return Images(folder, pictures, f"{folder}{f' and {subfolders}' if deeper and recursive else ''}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _listed(text: str, said: str) -> Images:
    named = [Path(line.strip()) for line in text.splitlines() if line.strip()]
    paths = tuple({absolute(path): path for path in named}.values())
    if not paths:
        raise ConfigError(f"--images: {said} names no file; write a path a line")
    if not any(path.exists() for path in paths):
        raise ConfigError(
            f"--images: {said} names {len(paths)} files and none is there ({paths[0]} first); write paths from the"
            " current folder, or whole ones"
        )
    parents = [absolute(path).parent for path in paths]
    return Images(Path(os.path.commonpath(parents)), paths, said)


def absolute(path: Path) -> Path:
    """Without ``..``; links stay."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links


def watched(
    folder: Path,
    recursive: bool,
    outputs: Sequence[Path],
    done: Mapping[Path, tuple[int, int]],
    wait: Callable[[], object],
) -> Iterator[list[Path]]:
    """Pictures of a folder as they come, without end: those of one look at a time, perhaps none.

    A file is taken once its size and time are the same in two looks, so that none is read half-written, and again
    where it was written anew. Files that vanish meanwhile are left out.

    done: files that are not taken while they have this size and time, see `state_of`; wait: called between two looks
    """
    taken = dict(done)
    before: dict[Path, tuple[int, int]] = {}
    while True:
        files = _files(folder, outputs) if recursive else sorted(folder.iterdir())
        now = {path: state for path in files if _is_picture(path) and (state := state_of(path))}
        new = [path for path, state in now.items() if before.get(path) == state != taken.get(path)]
        taken |= {path: now[path] for path in new}
        before = now
        yield new
        wait()


def pause() -> None:
    """Between two looks at a folder that is watched."""
    time.sleep(PAUSE)


def _files(folder: Path, outputs: Sequence[Path]) -> list[Path]:
    """Files in a folder and below, without hidden ones and what an earlier call has written."""
    written = tuple(os.path.realpath(path) + os.sep for path in outputs)
    return [p for p in files_below(folder) if not (os.path.realpath(p) + os.sep).startswith(written)]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES | UNREAD and not is_litter(path.name)
