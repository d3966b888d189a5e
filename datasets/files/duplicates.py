"""Images that are in two splits, under whatever names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from datasets.base import Problem
from datasets.files.fingerprints import file_digests
from datasets.files.listing import first_names

_TAIL = 4096
"""Bytes at the end that are read of files of one size: heads of JPEGs are alike, and few files need be read whole."""


def duplicate_problems(name: str, splits: Mapping[str, Mapping[str, Path]]) -> list[Problem]:
    """A note on images of val whose content is that of an image of train.

    splits: "train" and "val" -> id -> image. Raises DataError for a file that cannot be read.
    """
    train, val = (_by_size(splits[split]) for split in ("train", "val"))
    trained: list[Path] = []
    held: dict[str, Path] = {}
    for size in train.keys() & val.keys():
        tails = {path: _tail(path) for path in (*train[size].values(), *val[size].values())}
        common = {tails[path] for path in train[size].values()} & {tails[path] for path in val[size].values()}
        trained += [path for path in train[size].values() if tails[path] in common]
        held |= {i: path for i, path in val[size].items() if tails[path] in common}
    trained_on = set(file_digests(trained))
    same = [
        i for i, digest in zip(held, file_digests(list(held.values())), strict=True) if digest in trained_on
    ]
    if not same:
        return []
    what = f"{name}: {len(same)} of {len(splits['val'])} val images are in train too, by their content"
    remedy = "remove one of each pair, or give both the same split, or scores are of images trained on"
    return [Problem(f"{what} ({first_names(same)})", remedy, broken=False)]


def _by_size(images: Mapping[str, Path]) -> dict[int, dict[str, Path]]:
    found: dict[int, dict[str, Path]] = {}
    for sample_id, path in images.items():
        if path.is_file():
            found.setdefault(path.stat().st_size, {})[sample_id] = path
    return found


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        return hashlib.sha256(file.read()).digest()
