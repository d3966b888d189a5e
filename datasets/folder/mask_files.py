"""Which file is the mask of which image: by folder and name, or in several parts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from datasets.base import DataError, Sample
from datasets.files.decoding import opened_whole
from datasets.files.fingerprints import file_digests
from datasets.files.listing import files_below, first_names, pictures_below
from datasets.folder.copies import copies_folder, save_copy
from datasets.folder.mask_like import is_mask_word

LOSSLESS = frozenset((".png", ".bmp", ".dib", ".tif", ".tiff"))
"""Endings of masks that hold class ids."""
TWO_VALUED = LOSSLESS | {".jpg", ".jpeg"}
"""Of masks that know only defect or not, which a JPEG still tells."""
_BEHIND = re.compile(r"(.+?)[-_. ]+([^\W\d_]+)")
_BEFORE = re.compile(r"([^\W\d_]+)[-_. ]+(.+)")


def picture_name(stem: str) -> str:
    """Name of the picture that a mask is called after: ``x`` of ``x_mask``, ``x_GT``, ``x-label`` and ``mask_x``."""
    if (match := _BEHIND.fullmatch(stem)) and is_mask_word(match[2]):
        return match[1]
    if (match := _BEFORE.fullmatch(stem)) and is_mask_word(match[1]):
        return match[2]
    return stem


def masks_by_name(folder: Path, endings: Collection[str] = LOSSLESS) -> dict[str, list[Path]]:
    """Masks below a folder by the names of pictures that they may be of: paths below it without endings."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files_below(folder):
        if path.suffix.lower() in endings:
            name = path.relative_to(folder).with_suffix("")
            for key in {name.as_posix(), name.with_name(picture_name(name.name)).as_posix()}:
                found[key].append(path)
    return found


def is_mask_folder(name: str, mask_folder: str) -> bool:
    return is_mask_word(name) or name.lower() == mask_folder.lower()


def mask_folders(folder: Path, mask_folder: str) -> list[Path]:
    """Folders of masks directly in a folder."""
    return [f for f in sorted(folder.iterdir()) if f.is_dir() and is_mask_folder(f.name, mask_folder)]


def find_masks(
    roots: Sequence[Path],
    samples: Mapping[str, Sample],
    names_of: Mapping[str, tuple[Path, str]],
    mask_folder: str,
) -> dict[str, list[Path]]:
    """The mask of each image of class folders that has one; several files are its parts (MVTec LOCO).

    names_of: id -> (class folder, path of the image in it without its ending)
    Raises DataError where two masks fit, or one fits two images.
    """
    files_in = cache(lambda folder: [masks_by_name(d, TWO_VALUED) for d in mask_folders(folder, mask_folder)])
    parts_in = cache(lambda folder: [_parts(files) for files in files_in(folder)])
    bare = Counter(name.rsplit("/")[-1] for _, name in names_of.values())
    found: dict[str, list[Path]] = {}
    owner: dict[Path, str] = {}
    for sample_id in samples:
        folder, name = names_of[sample_id]
        last = name.rsplit("/")[-1]
        above = [parent for parent in dict.fromkeys((*roots, folder.parent)) if parent.is_dir()]
        keys = [f"{folder.name}/{name}", f"{folder.name}/{last}", sample_id]
        flat = [last] if bare[last] == 1 else []
        places = [(files, key) for parent in above for files in files_in(parent) for key in (*keys, *flat)]
        places += [(files, key) for files in files_in(folder) for key in (name, last)]
        fits = list(dict.fromkeys(path for files, key in places for path in files.get(key, ())))
        if len(fits) > 1:  # one may be of an image that is called so, or a picture of the mask
            fits = [path for path in fits if path.stem == last or path.stem not in bare]
            fits = [path for path in fits if path.suffix.lower() in LOSSLESS] or fits
        if len(fits) > 1:
            raise DataError(
                f"{samples[sample_id].image}: {len(fits)} masks fit ({first_names(sorted(map(str, fits)))}); keep one"
            )
        if not fits:
            fits = next((p[key] for a in above for p in parts_in(a) for key in keys if key in p), [])
        for mask in fits:
            if mask in owner:
                raise DataError(f"{mask}: fits images {owner[mask]} and {sample_id}; give each its own mask")
            owner[mask] = sample_id
        if fits:
            found[sample_id] = fits
    return found


def _parts(files: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Masks by the path of the folder that they are in, below that of all masks."""
    found: dict[str, list[Path]] = defaultdict(list)
    for key in files:
        if "/" in key:
            found[key.rpartition("/")[0]] += [
                path for path in files[key] if path not in found[key.rpartition("/")[0]]
            ]
    return found


def unused_masks(
    roots: Sequence[Path], used: Collection[Path], mask_folder: str, example: Sample
) -> tuple[str, ...]:
    """A remark on files in folders of masks that fit no image; DataError where none in any of them does.

    example: an image of the data set
    """
    unused: dict[Path, list[Path]] = {}
    for root in roots:
        for path in pictures_below(root):
            place = next((p for p in path.parents if is_mask_folder(p.name, mask_folder)), root)
            if place.is_relative_to(root) and place != root and path not in used:
                unused.setdefault(place, []).append(path)
    if not unused:
        return ()
    folder, files = next(iter(unused.items()))
    if not used:
        name = f"{example.image.parent.name}/{example.image.stem}.png"
        raise none_is_a_mask(
            folder,
            files,
            f"save each as PNG under its image's name in the folder of its class, such as {name} (in no folder where"
            " names are unique), or move the folder elsewhere",
        )
    count = sum(map(len, unused.values()))
    return (f"{count} files in folders of masks belong to no image ({files[0]}, ...)",)


def none_is_a_mask(folder: Path, files: Sequence[Path], remedy: str) -> DataError:
    """The error for a folder of masks none of whose files fits an image."""
    example = files[0].relative_to(folder).as_posix()
    return DataError(
        f"folder: none of the {len(files)} files in {folder} ({example}, ...) is a mask of a listed image;"
        f" {remedy}"
    )


def united(parts: Sequence[Path]) -> Path:
    """One mask (0 and 255) of several that each mark a part, in the user's cache folder. Raises DataError."""
    digest = hashlib.sha256("".join(file_digests(parts)).encode()).hexdigest()
    target = copies_folder("masks") / f"united-{digest}.png"
    if not target.exists():
        marked = [_marked(path) for path in parts]
        if any(each.shape != marked[0].shape for each in marked):
            raise DataError(
                f"{parts[0].parent}: masks of different sizes; save the parts at their image's size"
            )
        save_copy(np.where(np.any(marked, axis=0), np.uint8(255), np.uint8(0)), target)
    return target


def _marked(path: Path) -> np.ndarray:
    with opened_whole(path) as image:
        return np.asarray(image.convert("L")) > 0


def is_empty(path: Path) -> bool:
    """Whether a mask marks nothing. Raises DataError."""
    return not _marked(path).any()
