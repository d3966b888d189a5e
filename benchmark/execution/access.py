"""Which files a stage could open and did open: counts by kind of file, and hashes of their names."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets.base import Dataset
from methods.layers.weights.files import FILE_SUFFIXES

_CODE = tuple(
    str(Path(__file__).parents[2] / name) for name in ("benchmark", "datasets", "methods", "reports")
)
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", sys.prefix, sys.base_prefix)
_SOURCES = (".py", ".pyc")
ENDINGS = 8
"""Endings of files from elsewhere that are counted one by one."""


def access_record(
    dataset: Dataset,
    opened: Iterable[str],
    closed: bool,
    inputs: Mapping[str, Path],
    output: Path,
    store: Path,
) -> dict[str, Any]:
    """What of the opened files belongs to the data, to earlier stages, to pretrained weights, and to nothing known.

    opened: of `datasets.files.guard.files_opened`; closed: whether the masks were; inputs: role -> artifact's folder
    output: the stage's own folder, whose files are left out as those of Python, libraries and this project's code are
    store:  root of the store

    returns:
    masks_closed: bool; refused: files of masks whose opening was refused
    images: split -> number of its images that were opened
    opened: kind -> {"files": number, "sha256": of their sorted names, a line each}; kinds: images ("split/id"), masks
            and data (other files of the data set; from the folder that all are in), inputs ("role/path"), undeclared (of
            artifacts in the store that are no inputs), weights (names)
    elsewhere: files of none of these; endings: the commonest of their names' endings -> number
    """
    images = {
        os.path.abspath(sample.image): f"{split}/{sample.id}"  # noqa: PTH100 - links are not followed
        for split in ("train", "val")
        for sample in dataset.samples(split)
    }
    masks = [*dataset.mask_directories()]
    mask_folders = {str(folder) for path in masks for folder in (path.absolute(), path.resolve())}
    mask_files = {str(file) for path in dataset.mask_files() for file in (path.absolute(), path.resolve())}
    folders = {str(Path(path).parent) for path in images} | mask_folders
    data = _roots(folders)
    found: dict[str, set[str]] = {
        kind: set() for kind in ("images", "masks", "data", "inputs", "undeclared", "weights")
    }
    endings: Counter[str] = Counter()
    for name in tuple(opened):  # a thread that was about to note a file may do so still
        path = Path(name)
        if name in images:
            found["images"].add(images[name])
        elif not path.is_file() or _inside(path, (output.absolute(),)):
            continue
        elif any(str(p) in mask_files or _inside(p, mask_folders) for p in (path, path.resolve())):
            found["masks"].add(_below(path, data))
        elif role := next((r for r, folder in inputs.items() if _inside(path, (folder.absolute(),))), ""):
            found["inputs"].add(f"{role}/{path.relative_to(inputs[role].absolute()).as_posix()}")
        elif _inside(path, (store.absolute(),)):
            found["undeclared"].add(path.relative_to(store.absolute()).as_posix())
        elif _inside(path, data):
            found["data"].add(_below(path, data))
        elif path.suffix in FILE_SUFFIXES:
            found["weights"].add(path.name)
        elif path.suffix not in _SOURCES and not _inside(path, (*_CODE, *_SYSTEM)):
            endings[path.suffix.lower()] += 1
    refused = len(found.pop("masks")) if closed else 0
    split_of = Counter(name.partition("/")[0] for name in found["images"])
    return {
        "masks_closed": closed,
        "refused": refused,
        "images": {split: split_of[split] for split in ("train", "val")},
        "opened": {
            kind: {"files": len(names), "sha256": _names_hash(names)}
            for kind, names in found.items()
            if names
        },
        "elsewhere": endings.total(),
        "endings": dict(endings.most_common(ENDINGS)),
    }


def _names_hash(names: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def _inside(path: Path, folders: Iterable[Path | str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _below(path: Path, roots: Iterable[str]) -> str:
    """From the uppermost of the roots that the path is in; the whole path where it is in none."""
    for root in sorted(roots, key=len):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.as_posix()


def _roots(folders: Iterable[str]) -> set[str]:
    """The folders, and what all of them are in, unless that is no folder of the data's own."""
    own = set(folders)
    try:
        common = os.path.commonpath(own)
    except ValueError:  # there are none, or on several drives
        return own
    return own | ({common} if len(Path(common).parts) > 3 else set())
