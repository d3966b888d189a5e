"""A list of the SHA-256 of a data set's files beside them: what has changed since it was written is said.

A flipped byte in a JPEG is decoded without a word; the list tells. Owners of data sets may publish theirs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from datasets.base import DataError, Dataset
from datasets.files.fingerprints import file_digests
from datasets.files.inspection import first_names
from datasets.files.sealed import read_sealed, sealed

NAME = "sha256.json"
"""The list's name in a data set's root. {"files": {path from the root: SHA-256}, "published": where it is from, ""}."""


def write_hashes(dataset: Dataset, root: Path) -> tuple[Path, int]:
    """Write the list of a data set's images and masks below `root`; its path and the number of files.

    Raises DataError for a file that cannot be read.
    """
    files = _files(dataset, root)
    listed = dict(zip(files, file_digests(list(files.values())), strict=True))
    path = root / NAME
    temporary = path.with_name(f".{NAME}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(sealed({"files": listed, "published": ""}), indent=0), encoding="utf-8")
    temporary.replace(path)
    return path, len(listed)


def changed_files(dataset: Dataset, root: Path) -> list[str]:
    """What is not as the list in `root` says, a line each; empty without a list. Raises DataError if that is damaged."""
    path = root / NAME
    try:
        listed = _listed(path)
    except FileNotFoundError:
        return []
    files = _files(dataset, root)
    there = {name: file for name, file in files.items() if name in listed}
    found = dict(zip(there, file_digests(list(there.values())), strict=True))
    faults = {
        "have changed": [name for name in there if found[name] != listed[name]],
        "are new": [name for name in files if name not in listed],
        "are gone, or not in use": [name for name in listed if name not in files],
    }
    return [
        f"{path}: {len(names)} files {what} ({first_names(names)})" for what, names in faults.items() if names
    ]


def _listed(path: Path) -> dict[str, Any]:
    try:
        listed = read_sealed(path)["files"]
        if isinstance(listed, dict):
            return listed
        reason = "no list of files"
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
    raise DataError(f"{path}: damaged ({reason}); restore it, or write it again with doctor --hash")


def _files(dataset: Dataset, root: Path) -> dict[str, Path]:
    """Images and masks of both splits that lie below the root, by their path from there."""
    ids = [i for split in ("train", "val") for i in dataset.ids(split)]
    paths = [
        p for i in ids for p in (dataset.sample(i).image, dataset.mask_path(i), dataset.context_path(i)) if p
    ]
    return {p.relative_to(root).as_posix(): p for p in dict.fromkeys(paths) if p.is_relative_to(root)}
