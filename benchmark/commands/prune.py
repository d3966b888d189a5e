"""`prune`: artifacts that no run folder names, and work that nobody went on with."""

from __future__ import annotations

import math
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import Timeout

from benchmark.config import RuntimeConfig
from benchmark.console import console, size
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from benchmark.store import DISCARDED, REMOVED, Store, read_manifest
from datasets.base import DataError
from datasets.files.sealed import read_sealed
from results.io import RUNS_FILE, check_types
from results.resamples import RESAMPLES_FOLDER, resampled_from

OF_NO_RUN = ("check-masks", "score-references", "count-network")
"""Artifacts of a data set or a network and no run's: a few kB, kept."""


@dataclass(frozen=True)
class Leftover:
    """A folder of the store that can go, and its size on disk."""

    path: Path
    key: str
    bytes: int


def prune(
    runs: Annotated[
        Path,
        typer.Option(help="Folder with all run folders; what they name is kept, what others name is not."),
    ] = Path("results/runs"),
    store: Annotated[Path, typer.Option(help="The store, as in runtime.store.")] = Path(RuntimeConfig.store),
    days: Annotated[
        float,
        typer.Option(help="Keep what was made or used later: runs at work are not on a leaderboard yet."),
    ] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it they are listed only.")] = False,
) -> None:
    """List the store's artifacts that no run names, and abandoned work; with --yes, delete them."""
    if days < 0:
        raise ConfigError(f"--days {days:g}: must not be negative")
    if not store.is_dir():
        raise ConfigError(f"--store {store}: no such folder; give the one that runtime.store named")
    if yes:
        check_writable(store, "--store")
    found = leftovers(Store(store), runs, days)
    gone = [each for each in found if not yes or _remove(each, store)]
    for each in gone:
        console.print(f"{each.path.relative_to(store)}  {size(each.bytes)}", markup=False)
    total = size(sum(each.bytes for each in gone))
    if yes:
        console.print(f"deleted {len(gone)} folders, {total}", markup=False)
    else:
        console.print(f"{len(gone)} folders, {total}; --yes deletes them", markup=False)


def leftovers(store: Store, runs: Path, days: float) -> list[Leftover]:
    """Finished, unfinished and damaged folders of the store older than `days` that no run under `runs` needs.

    Needed is what the runs or resamples of a run folder name, and what that was made from.
    Runs at work make theirs young as they go (`Store.touch`).
    Raises ConfigError if there is no run at all, DataError if one, or a manifest, cannot be read.
    """
    needed = _with_inputs(store, set(_named(runs)))
    found = [
        (Leftover(folder, folder.name, held), used)
        for part in ("artifacts", DISCARDED, "work", "damaged", REMOVED)
        for folder in sorted(store.root.glob(f"{part}/*/*"))
        if part not in ("artifacts", DISCARDED)
        or (folder.name not in needed and folder.parent.name not in OF_NO_RUN)
        for held, used in [_size_and_age(folder)]
    ]
    before = time.time() - days * 86400
    return [leftover for leftover, used in found if used <= before]


def _size_and_age(folder: Path) -> tuple[int, float]:
    """Bytes, and when it was last written or used: now at the latest, though a clock may have run ahead, and never
    where a run is moving its files this moment."""
    now = time.time()
    try:
        found = [path.stat() for path in (folder, *folder.rglob("*"))]
    except FileNotFoundError:
        return 0, math.inf
    return sum(s.st_size for s in found if stat.S_ISREG(s.st_mode)), min(now, max(s.st_mtime for s in found))


def _named(runs: Path) -> Iterator[str]:
    """Keys in the runs and resamples of the run folders, those of experiments included."""
    files = sorted(runs.rglob(RUNS_FILE))
    resamples = sorted(runs.rglob(f"{RESAMPLES_FOLDER}/*.npz"))
    if not files and not resamples:
        raise ConfigError(
            f"--runs {runs}: no run folder in it, so that all of the store would go; give the folder of the runs"
        )
    for file in files:
        try:
            if not file.is_file():  # a pipe would be waited for
                raise ValueError("no regular file")
            runs_there = read_sealed(file)["cells"]
            check_types(runs_there)
            stages = [stage for run in runs_there for stage in run["stages"]]
            keys = [stage["key"] for stage in stages]
            keys += [stage["score"]["key"] for stage in stages if stage.get("score")]
            if not all(isinstance(key, str) for key in keys):
                raise ValueError("a key is no text")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}: damaged ({error}); what its run needs is not known: move its folder away or mend it"
            ) from error
        yield from keys
    for file in resamples:
        yield file.stem.partition("-")[0]
        yield resampled_from(file)


def _with_inputs(store: Store, keys: set[str]) -> set[str]:
    """The keys, and those of all that their artifacts were made from."""
    made_from: dict[str, Any] = {}
    for path in store.artifacts("*"):
        try:
            manifest = read_manifest(path)
        except FileNotFoundError:  # another run has just begun to replace it
            continue
        except ValueError as error:
            raise DataError(
                f"{path}: damaged ({error}); what it was made from is not known: delete its folder"
            ) from error
        made_from[manifest["key"]] = manifest.get("inputs", {}).values()
    todo = list(keys)
    while todo:
        new = set(made_from.get(todo.pop(), ())) - keys
        keys |= new
        todo += new
    return keys


def _remove(leftover: Leftover, store: Path) -> bool:
    """Delete a folder unless a run holds its key; the manifest first, so that no half of it is taken for whole."""
    try:
        with Store(store).lock(leftover.key).acquire(timeout=0):
            if not leftover.path.exists():  # somebody else prunes, too
                return False
            (leftover.path / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(leftover.path)
    except Timeout:
        return False
    return True
