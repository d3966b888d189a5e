"""`prepare voc2012`: VOCdevkit from its archives, and train_aug with its masks from the Semantic Boundaries Dataset."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from datasets.base import IGNORE, DataError
from datasets.files.archives import contents
from datasets.files.images import image_size, write_labels
from datasets.files.listing import names_in
from datasets.files.preparing import Download, Kind, Request, recognise, unpack_all
from datasets.voc.reader import CLASS_MASKS, CLASSES, OFFICIAL, read_list

DEVKIT = "VOCdevkit/VOC2012"
SBD = Kind("benchmark.tgz (SBD)", re.compile(r"(?:^|/)dataset/(?:cls/([\w-]+)\.mat|(train|val)\.txt)$"), None)
VOC = Kind(
    "VOCtrainval_11-May-2012.tar, VOC2012test.tar",
    re.compile(
        r"(?:^|/)VOC2012/((?:JPEGImages/[\w-]+\.jpg|Annotations/[\w-]+\.xml"
        r"|Segmentation(?:Class|Object)/[\w-]+\.png|ImageSets/Segmentation/\w+\.txt))$"
    ),
    DEVKIT,
)
MASK_BYTES = 4000
"""Of one mask of SBD as PNG, about."""


def prepare(request: Request) -> list[str]:
    """Make `VOCdevkit/VOC2012` in `request.to`; what is there stays. Returns lines that say what there is.

    Raises DataError for archives that are none of VOC's or damaged, and for counts that are not the official ones.
    """
    folder = request.to / DEVKIT
    downloads = recognise(request, (VOC, SBD))
    boundaries = [d for d in downloads if d.kind is SBD]
    masks = sum(d.found[name][1] is not None for d in boundaries for name in d.found)
    unpack_all(request, downloads, masks * MASK_BYTES)
    lists = folder / "ImageSets" / "Segmentation"
    if not (lists / "train.txt").is_file():
        raise DataError(
            f"no {lists / 'train.txt'}; give VOCtrainval_11-May-2012.tar with --from, or the folder that holds"
            " VOCdevkit with --to"
        )
    found = {name: read_list(lists / f"{name}.txt") for name in ("train", "val")}
    if (lists / "test.txt").is_file():
        found["test"] = read_list(lists / "test.txt")
    for name, ids in found.items():
        request.require_count(f"{lists / name}.txt", len(ids), OFFICIAL[name])
        _require_files(request, folder, name, ids)
    for download in boundaries:
        found["train_aug"] = _augment(request, folder, download, found["train"], found["val"])
    return [f"{name}: {len(ids)} images" for name, ids in found.items()]


def _require_files(request: Request, folder: Path, name: str, ids: Sequence[str]) -> None:
    """Images, and where the list has labels, annotations and masks."""
    parts = [("images", "JPEGImages", ".jpg")]
    if name != "test":
        parts += [("annotations", "Annotations", ".xml"), ("masks", "SegmentationClass", ".png")]
    for what, part, suffix in parts:
        files = names_in(folder / part)
        missing = [i for i in ids if i + suffix not in files]
        request.require_all(f"{what} of the {name} list", missing, len(ids))


def _augment(
    request: Request, folder: Path, download: Download, train: Sequence[str], val: Sequence[str]
) -> tuple[str, ...]:
    """Masks in SegmentationClassAug and the list train_aug = (SBD train + SBD val + VOC train) - VOC val."""
    union = set(train)
    lists = {name: match[2] for name, match in download.found.items() if match[2]}
    if set(lists.values()) != {"train", "val"}:
        raise DataError(f"{download.path}: no train.txt and val.txt of SBD; download it again")
    for name, content in contents(download.path, lists):
        listed = content.decode("ascii", "replace").split()
        if wrong := [i for i in listed if not re.fullmatch(r"[\w-]+", i)]:
            raise DataError(f"{download.path}: {name} holds {wrong[0]!r}, which is no id; download it again")
        union.update(listed)
    ids = tuple(sorted(union - set(val)))
    request.require_count(f"train_aug, from {download.path.name}", len(ids), OFFICIAL["train_aug"])
    for what, part, suffix in (("images", "JPEGImages", ".jpg"), ("annotations", "Annotations", ".xml")):
        files = names_in(folder / part)
        request.require_all(f"{what} of train_aug", [i for i in ids if i + suffix not in files], len(ids))
    _write_masks(request, folder, download, ids)
    target = folder / "ImageSets" / "Segmentation" / "train_aug.txt"
    temporary = target.with_name(f"{target.name}.tmp")
    temporary.write_text("".join(f"{i}\n" for i in ids))
    temporary.replace(target)
    return ids


def _write_masks(request: Request, folder: Path, download: Download, ids: Sequence[str]) -> None:
    """PNG of every listed id that VOC itself has no mask of."""
    own, made = (names_in(folder / name) for name in CLASS_MASKS)
    needed = [i for i in ids if f"{i}.png" not in own]
    sources = {match[1]: name for name, match in download.found.items() if match[1]}
    request.require_all(f"masks of train_aug in {download.path.name}", [i for i in needed if i not in sources],
                        len(ids))  # fmt: skip
    todo = {sources[i]: i for i in needed if f"{i}.png" not in made}
    progress = request.show(f"{download.path.name} · masks")
    progress.start(len(needed), "img", len(needed) - len(todo))
    try:
        for name, content in contents(download.path, todo):
            sample_id = todo[name]
            mask = read_boundaries_mask(content, f"{download.path}: {name}")
            size = image_size(folder / "JPEGImages" / f"{sample_id}.jpg")
            if mask.shape != size:
                raise DataError(
                    f"{download.path}: {name} is {mask.shape[1]}x{mask.shape[0]}, its image"
                    f" {size[1]}x{size[0]} (width x height); download both again"
                )
            write_labels(folder / CLASS_MASKS[1] / f"{sample_id}.png", mask)
            progress.advance(1)
    finally:
        progress.stop()


def read_boundaries_mask(content: bytes, source: str) -> np.ndarray:
    """Class mask (H, W) uint8, 0..20 or 255, of a file in SBD's `cls` folder (GTcls.Segmentation).

    source: names the file in errors. Raises DataError for anything else.
    """
    try:
        structure = loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)["GTcls"]
        mask = np.asarray(structure.Segmentation)
    except Exception as error:  # scipy's reader raises whatever the bytes lead it to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{source}: no mask of SBD ({reason}); download benchmark.tgz again") from error
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or ((mask > len(CLASSES)) & (mask != IGNORE)).any():
        raise DataError(
            f"{source}: not class ids 0..{len(CLASSES)} in two dimensions; download benchmark.tgz again"
        )
    return mask.astype(np.uint8)


PREPARE = prepare
