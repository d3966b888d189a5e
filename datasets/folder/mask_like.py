"""Masks that lie among the pictures of a class: by their names beside a picture's, and by their two values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datasets.base import DataError
from datasets.files.decoding import opened
from datasets.folder.spellings import folded

_WORDS = """
    mask masks groundtruth groundtruths gt gts label labels labelmap annotation annotations anno annos seg segs segmask
    segmentation segmentations binarymask
"""
WORDS = frozenset(_WORDS.split())
"""What folders of masks, and beginnings and ends of masks' names, are called; `folded`."""
LOOKED_AT = 3
"""Files of one manner of naming that are decoded: two values in each are no accident."""
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".webp")
_DARK, _LIGHT, _SHARE = 24, 231, 0.99
"""A JPEG of two values has others along the edges."""
_FEW = 64
"""Values of a file that a word in its name calls a mask: of several classes, or smoothed at the edges."""
_END = re.compile(r"[^\w]*_*[^\W\d_][\w .()-]*")
"""What may follow a picture's name in a mask's: a letter first, for a number is the next picture's."""


@dataclass
class _Group:
    """Files named alike: `affix` is what their names have more than the pictures', "" for those of a folder."""

    folder: Path
    affix: str
    before: bool
    pairs: list[tuple[Path, Path]]


def is_mask_word(name: str) -> bool:
    return folded(name) in WORDS


def require_no_masks(pictures: Sequence[Path]) -> None:
    """DataError where listed pictures are masks of others, with the command that moves them away."""
    by_folder = _by_folder(pictures)
    for group in (*_beside(by_folder), *_in_folders(by_folder)):
        if _confirmed(group):
            raise _refusal(group)


def masks_beside(pictures: Sequence[Path]) -> dict[Path, Path]:
    """Picture -> its mask, where files of one folder show both: ``x.jpg`` with ``x.png``, ``x_GT.bmp``, ``mask_x.png``.

    By their names, and since some that are looked at have a few values alone. DataError where a folder of pictures is
    one of masks of another's, with the command that moves it away.
    """
    found: dict[Path, Path] = {}
    for same in _same_names(pictures):
        if _confirmed(same):
            found |= dict(same.pairs)
    masks = set(found.values())
    by_folder = _by_folder([path for path in pictures if path not in masks])
    for group in _beside(by_folder):
        if _confirmed(group):
            found |= dict(group.pairs)
    masks = set(found.values())
    by_folder = _by_folder([path for path in pictures if path not in masks])
    for group in _in_folders(by_folder):
        if _confirmed(group):
            raise _refusal(group)
    return found


def all_beside(pictures: Sequence[Path]) -> set[Path]:
    """The masks among files, found as by `masks_beside`, whatever else is there: those that training must not open."""
    found = {mask for group in _same_names(pictures) if _confirmed(group) for _, mask in group.pairs}
    groups = _beside(_by_folder([path for path in pictures if path not in found]))
    return found | {mask for group in groups if _confirmed(group) for _, mask in group.pairs}


def _by_folder(pictures: Sequence[Path]) -> dict[Path, dict[str, Path]]:
    """Pictures by folder and name without ending."""
    found: dict[Path, dict[str, Path]] = {}
    for path in pictures:
        found.setdefault(path.parent, {})[path.stem] = path
    return found


def _same_names(pictures: Sequence[Path]) -> Iterable[_Group]:
    """Pairs of files that differ in their endings alone, those of a folder and both endings together."""
    names: dict[tuple[Path, str], list[Path]] = {}
    for path in pictures:
        names.setdefault((path.parent, path.stem), []).append(path)
    groups: dict[tuple[Path, str, str], _Group] = {}
    for (folder, _), files in names.items():
        if len(files) != 2:
            continue
        for picture, mask in (files, files[::-1]):
            if mask.suffix.lower() not in _LOSSY:
                key = (folder, picture.suffix, mask.suffix)
                groups.setdefault(key, _Group(folder, "", False, [])).pairs.append((picture, mask))
    return groups.values()


def _confirmed(group: _Group) -> bool:
    """Whether files that are looked at are masks as their names say."""
    known = is_mask_word(group.affix or group.folder.name)
    step = max(1, len(group.pairs) // LOOKED_AT)
    return all(_is_mask(mask, picture, known) for picture, mask in group.pairs[::step][:LOOKED_AT])


def _beside(by_folder: dict[Path, dict[str, Path]]) -> Iterable[_Group]:
    """Files whose name is another's in their folder, with something before or behind."""
    groups: dict[tuple[Path, str, bool], _Group] = {}
    for folder, files in by_folder.items():
        for stem, path in files.items():
            for before, picture, affix in _parts(stem, files):
                key = (folder, affix.lower() + path.suffix, before)
                group = groups.setdefault(key, _Group(folder, affix, before, []))
                group.pairs.append((files[picture], path))
    return groups.values()


def _parts(stem: str, stems: dict[str, Path]) -> Iterable[tuple[bool, str, str]]:
    """(whether the rest stands before, name of a picture, the rest) of a name."""
    for end in range(len(stem) - 1, 0, -1):
        if stem[:end] in stems and _END.fullmatch(stem[end:]):
            yield False, stem[:end], stem[end:]
            break
    for begin in range(1, len(stem)):
        if stem[begin:] in stems and is_mask_word(stem[:begin]):
            yield True, stem[begin:], stem[:begin]
            break


def _in_folders(by_folder: dict[Path, dict[str, Path]]) -> Iterable[_Group]:
    """Folders whose files are mostly named as those of the folder above, or of one beside."""
    beside: dict[Path, list[Path]] = {}
    for folder in by_folder:
        beside.setdefault(folder.parent, []).append(folder)
    for folder, files in by_folder.items():
        for other in (folder.parent, *beside[folder.parent]):
            pictures = by_folder.get(other, {}) if other != folder else {}
            pairs = [(pictures[stem], path) for stem, path in files.items() if stem in pictures]
            if 2 * len(pairs) > len(files):
                yield _Group(folder, "", False, pairs)


def _is_mask(mask: Path, picture: Path, known: bool) -> bool:
    """Whether a file has two values (a few, if its name calls it a mask) and its picture's size, which has more."""
    try:
        with opened(mask) as image, opened(picture) as whole:
            if image.size != whole.size and not known:
                return False
            return _two_valued(image, _FEW if known else 2) and not _two_valued(whole, 2)
    except DataError:
        return False  # said where images are read


def _two_valued(image: Image.Image, most: int) -> bool:
    counts = image.convert("L").histogram()
    if sum(count > 0 for count in counts) <= most:
        return True
    return sum(counts[:_DARK]) + sum(counts[_LIGHT:]) >= _SHARE * sum(counts) and sum(counts[_LIGHT:]) > 0


def _refusal(group: _Group) -> DataError:
    folder, (picture, mask) = group.folder, group.pairs[0]
    if not group.affix:
        masks = folder.parent / "masks"
        target = masks if picture.parent == folder.parent else masks / picture.parent.name
        command = f"{shlex.join(['mkdir', '-p', str(target.parent)])} && {shlex.join(['mv', str(folder), str(target)])}"
        return DataError(
            f"{folder}: its {len(group.pairs)} files look like masks of the pictures in {picture.parent} (two values,"
            f" {mask.name} as {picture.name}); move them: {command}"
        )
    target = folder.parent / "masks" / folder.name
    pattern = f"{group.affix}*" if group.before else f"*{group.affix}{mask.suffix}"
    name = (
        '"$(basename "$f")"; m=${m#' + shlex.quote(group.affix) + "}"
        if group.before
        else f'"$(basename "$f" {shlex.quote(group.affix + mask.suffix)})"{mask.suffix}'
    )
    place = shlex.quote(str(target))
    command = (
        f"mkdir -p {place}; for f in {shlex.quote(str(folder))}/{_glob(pattern)}; do m={name};"
        f' mv "$f" {place}/"$m"; done'
    )
    return DataError(
        f"{folder}: {len(group.pairs)} files look like masks of pictures beside them ({mask.name} of {picture.name});"
        f" move them into a folder of masks: {command}"
    )


def _glob(pattern: str) -> str:
    """A pattern for the shell in which only * is one."""
    return "*".join(shlex.quote(part) if part else "" for part in pattern.split("*"))
