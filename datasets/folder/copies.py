"""Copies of images and masks that cannot be used as they lie: too large, deep in bits, masks without classes.

A copy is named after the content it was made from and how, so a stale one is never used, and a changed file
makes a new one. Copies are lossless PNG in the user's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps
from platformdirs import user_cache_path

from datasets.base import IGNORE, Conversion, DataError
from datasets.files.cores import usable_cores
from datasets.files.decoding import PHOTOS, is_deep, opened, opened_whole, orientation, rgb, upright_size
from datasets.files.fingerprints import file_digests
from datasets.files.palette import save_ids

_VERSION = 2
"""Of the conversion of images, in the names of copies: to be raised where other pixels come of it."""
_SAMPLED = 8
"""16-bit images that are looked at to see whether they fill their range."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Header:
    """Of an image, from its file's header: (width, height) upright, and whether it has 16 bits a channel."""

    size: tuple[int, int]
    deep: bool

    def reduced(self, longest_side: int) -> tuple[int, int]:
        """(width, height) that fits `longest_side`, 0 for any."""
        longest = max(self.size)
        if not longest_side or longest <= longest_side:
            return self.size
        width, height = (max(1, round(side * longest_side / longest)) for side in self.size)
        return width, height


@dataclass(frozen=True)
class Converted:
    """Images made fit for methods: what their headers say, which sizes and copies they were given.

    sizes:   (width, height) after the conversion; copies: path -> copy, of those that needed one
    reduced, converted: those made smaller, taken from 16 bits; bits: significant ones of 16
    """

    headers: dict[Path, Header]
    sizes: dict[Path, tuple[int, int]]
    copies: dict[Path, Path]
    reduced: frozenset[Path]
    converted: frozenset[Path]
    bits: int


@dataclass(frozen=True)
class MaskJob:
    """A mask to be copied: its image's upright size and the size wanted, (width, height); `value` as in `copy_masks`.

    several: whether a mask of a `value` may hold several others than 0
    """

    path: Path
    image_size: tuple[int, int]
    size: tuple[int, int]
    value: int | None
    several: bool = False


def convert(paths: Sequence[Path], how: Conversion, folder: Path | None = None) -> Converted:
    """Copies of the images that are too large or have fewer significant bits than their files.

    folder: where copies go; None: the user's cache folder
    Raises DataError for a file that is no image, is too large to decode, or has other bits than `how` says.
    """
    found = dict(zip(paths, _parallel(_header, paths), strict=True))
    sizes = {path: header.reduced(how.longest_side) for path, header in found.items()}
    deep = [path for path, header in found.items() if header.deep]
    bits = significant_bits(deep, how.bits)
    reduced = frozenset(path for path, header in found.items() if header.size != sizes[path])
    converted = frozenset(deep if bits < 16 else ())
    copies = copy_images({path: sizes[path] for path in found if path in reduced | converted}, bits, folder)
    return Converted(found, sizes, copies, reduced, converted, bits)


def _header(path: Path) -> Header:
    with opened(path, PHOTOS) as image:
        return Header(upright_size(image), is_deep(image))


def significant_bits(paths: Sequence[Path], bits: int) -> int:
    """How many bits of 16-bit images count: `bits`, or 16 if it is 0 and the images fill their range.

    Cameras with 10, 12 or 14 bits fill the lowest of the 16; taken as 16 bits such images would be nearly
    black. Raises DataError where some images that are sampled show that and `bits` is 0.
    """
    if bits or not paths:
        return bits or 16
    sampled = [paths[k * len(paths) // _SAMPLED] for k in range(_SAMPLED)] if len(paths) > _SAMPLED else paths
    highest = max(_parallel(lambda path: int(_pixels(path).max()), sampled))
    if highest < 2**14:
        likely = next(b for b in (8, 10, 12, 14) if highest < 2**b)
        raise DataError(
            f"{sampled[0]}: 16-bit images that reach {highest} of 65535 would be nearly black;"
            f" run with dataset.bits={likely} if the camera has {likely} bits, 16 to keep them as they are,"
            " or save them with 8 bits"
        )
    return 16


def copy_images(
    files: Mapping[Path, tuple[int, int]], bits: int, folder: Path | None = None
) -> dict[Path, Path]:
    """8-bit copies of images at the given sizes (width, height); path -> copy. Smoothed when shrinking.

    bits: significant bits of 16-bit images: 2^bits - 1 becomes 255; folder: as in `convert`
    Raises DataError for a file that cannot be decoded, or that holds more than `bits` bits.
    """

    def make(path: Path, target: Path) -> None:
        pixels = _pixels(path, max(files[path]))
        if pixels.dtype != np.uint8:
            if (highest := int(pixels.max())) >= 2**bits:
                raise DataError(
                    f"{path}: holds {highest}, more than {bits} bits; correct the run's dataset.bits or the image"
                )
            full = np.uint32(2**bits - 1)
            pixels = ((pixels.astype(np.uint32) * np.uint32(255) + full // 2) // full).astype(np.uint8)
        image = Image.fromarray(pixels)
        size = files[path]
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        _save(image, target)

    how = {p: f"{size[0]}x{size[1]}-{bits}bits-{_VERSION}" for p, size in files.items()}
    return _copies(folder or copies_folder("images"), how, make)


def copy_masks(jobs: Sequence[MaskJob], classes: int) -> dict[Path, Path]:
    """Copies of masks with class ids, at the given sizes (nearest); path -> copy.

    A job's `value` is the class id of a mask that only tells defect (one value other than 0) from background;
    None for masks that hold class ids 0..`classes` and 255 already. Raises DataError for a mask that is
    broken, of another size than its image, or with other values (`value` 0: with any but 0).
    """
    by_path = {job.path: job for job in jobs}

    def make(path: Path, target: Path) -> None:
        job = by_path[path]
        mask = _mask_pixels(path, job.value is not None)
        if mask.shape != job.image_size[::-1]:
            found = f"{mask.shape[1]}x{mask.shape[0]}"
            wanted = f"{job.image_size[0]}x{job.image_size[1]}"
            raise DataError(
                f"{path}: mask of {found} for an image of {wanted} (width x height);"
                " export the mask at its image's size"
            )
        values = [int(v) for v in np.flatnonzero(np.bincount(mask.ravel(), minlength=256))]
        if job.value is not None:
            if not job.several and len(inside := [v for v in values if v]) > 1:
                raise DataError(
                    f"{path}: holds values {', '.join(map(str, inside[:4]))} besides 0; masks of class folders"
                    " have 0 and one other value"
                )
            if values != [0] and job.value == 0:
                raise DataError(f"{path}: marks a defect in a good image; move the image or remove the mask")
            mask = np.where(mask > 0, np.uint8(job.value), np.uint8(0))
        elif wrong := [v for v in values if v > classes and v != IGNORE]:
            raise DataError(
                f"{path}: class id {wrong[0]} is not in 0..{classes} and not {IGNORE}; check the class list"
            )
        _save(Image.fromarray(mask).resize(job.size, Image.Resampling.NEAREST), target)

    how = {
        p: f"{j.size[0]}x{j.size[1]}-{j.value}-{classes}{'-several' * j.several}" for p, j in by_path.items()
    }
    return _copies(copies_folder("masks"), how, make)


def empty_masks(sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Path]:
    """Masks of background only, by (width, height)."""
    made = {size: copies_folder("masks") / f"background-{size[0]}x{size[1]}.png" for size in set(sizes)}
    for size, path in made.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _save(Image.new("L", size), path)
    return made


def copies_folder(kind: str) -> Path:
    """Where copies are kept; kind: "images" or "masks"."""
    return user_cache_path("wsss-benchmark") / "folder-copies" / kind


def _copies(folder: Path, how: Mapping[Path, str], make: Callable[[Path, Path], None]) -> dict[Path, Path]:
    paths = list(how)
    targets = {p: folder / f"{d}-{how[p]}.png" for p, d in zip(paths, file_digests(paths), strict=True)}
    missing = {target: path for path, target in targets.items() if not target.exists()}
    if missing:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _parallel(lambda job: make(job[1], job[0]), list(missing.items()))
        except OSError as error:
            raise DataError(
                f"folder: cannot write to {folder} ({error.strerror or error}); free some space there,"
                " or set XDG_CACHE_HOME to a folder that can be written"
            ) from error
    return targets


def _parallel(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """A few threads: each holds one decoded image, so memory stays that of a few images."""
    with ThreadPoolExecutor(min(4, usable_cores())) as pool:
        return list(pool.map(function, items))


def _pixels(path: Path, longest_side: int = 0) -> np.ndarray:
    """Upright: (H, W, 3), or (H, W) for greyscale; uint16 of 16-bit files, else uint8.

    longest_side: if given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, but not smaller than this
    """
    with opened_whole(path, PHOTOS) as image:
        if is_deep(image):
            pixels = rgb(path)
            return pixels[:, :, 0] if image.mode in ("I;16", "I") else pixels
        turned = orientation(image) != 1
        if longest_side:
            image.draft(None, (longest_side, longest_side))
        upright = ImageOps.exif_transpose(image) if turned else image
        return np.asarray(upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB"))


def _mask_pixels(path: Path, binary: bool) -> np.ndarray:
    """Values (H, W) of a mask; binary: black is 0 and every other colour a value, whatever a palette says.

    Of a JPEG, whose values are smeared, the lighter half is 1.
    """
    with opened_whole(path) as image:
        if image.format in ("JPEG", "MPO"):
            if not binary:
                raise DataError(f"{path}: class ids are smeared in a JPEG; save masks as PNG")
            return (np.asarray(image.convert("L")) > 127).astype(np.uint8)
        coloured = image.mode in ("RGB", "RGBA", "P")
        if image.mode not in (("L", "P", "1", "RGB", "RGBA") if binary else ("L", "P", "1")):
            raise DataError(
                f"{path}: mask of mode {image.mode}, not 8-bit single-channel or indexed; {save_ids(path.parent)}"
            )
        if not (binary and coloured):
            return np.asarray(image).astype(np.uint8)
        pixels = np.asarray(image.convert("RGB")).astype(np.uint32)
    coded = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    colours, values = np.unique(coded, return_inverse=True)
    return (values.reshape(coded.shape) + int(colours[0] != 0)).clip(max=IGNORE).astype(np.uint8)


def save_copy(mask: np.ndarray, target: Path) -> None:
    """Write a mask (H, W) uint8 that was made of others, for all processes. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _save(Image.fromarray(mask), target)


def _save(image: Image.Image, target: Path) -> None:
    """Complete or not at all; processes that make the same copy do not disturb each other."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    image.save(temporary, format="PNG", compress_level=1)
    temporary.replace(target)
