"""Layouts with a folder of images for each class."""

from __future__ import annotations

import shlex
from pathlib import Path

from datasets.base import DataError, Sample
from datasets.files.listing import PICTURES, UNREAD, first_names, is_litter, pictures_below
from datasets.folder.good import GOOD, GoodNames
from datasets.folder.label_file import class_index
from datasets.folder.listing import TEST, TEST_LEFT_OUT, TRAIN, VAL, Listing, require_readable
from datasets.folder.mask_files import find_masks, is_mask_folder, united, unused_masks
from datasets.folder.mask_like import masks_beside
from datasets.folder.spellings import same_names

ONLY_GOOD = GoodNames()
LOCO = "MVTec LOCO"


def has_class_folders(root: Path, mask_folder: str) -> bool:
    """Whether images lie in folders below `root` that may be named after classes: two at least."""
    return sum(any(pictures_below(f)) for f in _subfolders(root, mask_folder)) > 1


def from_class_folders(
    root: Path,
    classes: tuple[str, ...] | None,
    mask_folder: str,
    beside: Path | None = None,
    good: GoodNames = ONLY_GOOD,
) -> Listing:
    """Every image carries the name of its folder as its only label; none in the folders that `good` names.

    Layouts, all below `root`: ``<class>/...``, ``train/<class>/...`` with ``val/<class>/...`` (without a val
    folder, ``test`` is it), and MVTec AD's and LOCO's, whose folders train and validation have good images only: these
    and those of test are pooled, and the split is drawn. Ids are paths below `root` without their endings.

    Masks have 0 where there is no defect and one other value where there is. They are beside the images (`masks_beside`)
    or under `mask_folder` or a folder whose name says so (`mask_like.WORDS`: masks, ground_truth, GT, label,
    annotations, ...), named as the image, perhaps with such a word at its end: ``masks/<id>.png``,
    ``masks/<class>/<name>.png`` (as MVTec AD's), ``masks/<class>/<name>/*.png`` (its parts, as LOCO's),
    ``<class>/masks/<name>.png``, or ``masks/<name>.png`` where no two images have one name.

    classes: names in the order of their mask values, or None: the folders' names, sorted
    beside:  another folder whose folders of masks count
    Raises DataError.
    """
    folders, remark, name_of_layout = _class_folders(root, mask_folder, good)
    found = sorted({f.name for _, f in folders})
    good.require_sure(found, root)
    names = [name for name in found if name not in good]
    _require_apart(root, folders, names)
    if not names:
        raise DataError(f"folder: {root} has good images only; add a folder of images for each class")
    if classes is None:
        classes = tuple(names)
    pictures = {
        folder: [p for p in pictures_below(folder) if not _in_masks(p.relative_to(folder), mask_folder)]
        for _, folder in folders
    }
    pairs = masks_beside([path for paths in pictures.values() for path in paths])
    masks_there = set(pairs.values())
    samples: dict[str, Sample] = {}
    splits: dict[str, str | None] = {}
    names_of: dict[str, tuple[Path, str]] = {}
    for split, folder in folders:
        labels = () if folder.name in good else (class_index(str(folder), folder.name, classes),)
        mine = [path for path in pictures[folder] if path not in masks_there]
        if not mine:
            raise DataError(f"{folder}: no images in this class folder; add some or remove the folder")
        for path in mine:
            require_readable(path, str(folder))
            sample_id = path.relative_to(root).with_suffix("").as_posix()
            if sample_id in samples:
                clash = f"{samples[sample_id].image.name}, {path.name}"
                raise DataError(f"{folder}: {clash} have one name; rename or remove one of them")
            samples[sample_id] = Sample(sample_id, path, labels)
            splits[sample_id] = split
            names_of[sample_id] = (folder, path.relative_to(folder).with_suffix("").as_posix())
    remark += _inner_splits(splits, names_of)
    split_by = None if None in splits.values() else "folders"
    roots = [root, *([beside] if beside else [])]
    files = find_masks(roots, samples, names_of, mask_folder)
    used = {path for parts in files.values() for path in parts}
    for sample_id, sample in samples.items():
        if sample.image in pairs:
            if sample_id in files:
                raise DataError(
                    f"{sample.image}: 2 masks fit ({pairs[sample.image]}, {files[sample_id][0]}); keep one"
                )
            files[sample_id] = [pairs[sample.image]]
    if TEST_LEFT_OUT not in remark and not pairs:  # whose masks they may be
        remark += unused_masks(roots, used, mask_folder, next(iter(samples.values())))
    where = "beside the images" if pairs else "in folders of masks" if files else ""
    return Listing(
        root,
        classes,
        samples,
        splits,
        split_by,
        {i: parts[0] if len(parts) == 1 else united(parts) for i, parts in files.items()},
        binary=True,
        several=name_of_layout == LOCO,
        closed=tuple(path for parts in files.values() if len(parts) > 1 for path in parts),
        layout=name_of_layout + (f", masks {where}" if where else ""),
        mask_place=f"{beside or root}/{mask_folder}/<class>/<name>.png",
        remarks=remark,
    )


def _inner_splits(splits: dict[str, str | None], names_of: dict[str, tuple[Path, str]]) -> tuple[str, ...]:
    """A remark where class folders hold split folders, which say nothing there."""
    named = {name.split("/")[0] for i, (_, name) in names_of.items() if splits[i] is None and "/" in name}
    inner = sorted(name for name in named if name.lower() in (*TRAIN, *VAL, *TEST))
    if not inner:
        return ()
    return (
        f"folders {', '.join(inner)} in class folders are pooled, split drawn; for theirs, train/<class>",
    )


def _require_apart(root: Path, folders: list[tuple[str | None, Path]], names: list[str]) -> None:
    """DataError where two folders' names are one but for their spelling."""
    if (pair := same_names(names)) is None:
        return
    first, second = (next(f for _, f in folders if f.name == name) for name in pair)
    moves = []
    for folder in (f for _, f in folders if f.name == second.name):
        old, new = shlex.quote(str(folder)), shlex.quote(str(folder.with_name(first.name)))
        moves.append(f"mkdir -p {new}; mv -n {old}/* {new}; rmdir {old}")
    command = "; ".join(moves)
    raise DataError(
        f"{root}: folders {first.relative_to(root)} and {second.relative_to(root)} have one name but for case, spaces,"
        f" hyphens or Unicode form; if they are one class: {command}"
    )


def _class_folders(
    root: Path, mask_folder: str, good: GoodNames
) -> tuple[list[tuple[str | None, Path]], tuple[str, ...], str]:
    """(split or None, class folder) of each, remarks about what was made of the split folders, and the layout's name."""
    top = _subfolders(root, mask_folder)
    train, val, test = ([f for f in top if f.name.lower() in names] for names in (TRAIN, VAL, TEST))
    if not train:
        _require_none_loose(root, "beside the class folders", "the folder of its class")
        return [(None, f) for f in top], (), "class folders"
    others = [f.name for f in top if f not in (*train, *val, *test)]
    if others or not (val or test):
        what = f"{', '.join(others)} beside train" if others else "train without val or test"
        raise DataError(
            f"{root}: folder {what}; put class folders into train and val, or use no split folders"
        )
    for folder in (*train, *(val or test)):
        example = f"a folder of its class, such as {folder.name}/scratch or {folder.name}/{GOOD}"
        _require_none_loose(folder, "in no class folder", example)
    trained, validated, tested = (
        [f for s in parts for f in _subfolders(s, mask_folder)] for parts in (train, val, test)
    )
    if all(f.name in good for f in trained):
        name, parts = "MVTec AD", [train[0], (val or test)[0]]
        pooled = [*trained, *(validated if val else tested)]
        if test and validated and all(f.name in good for f in validated):
            name, parts, pooled = LOCO, [train[0], val[0], test[0]], [*trained, *validated, *tested]
        held = " and ".join(part.name for part in parts[1:])
        return (
            [(None, f) for f in pooled],
            (f"{parts[0].name} has good images only: pooled with {held}, split drawn",),
            name,
        )
    left_out = (TEST_LEFT_OUT,) if val and test else ()
    given: list[tuple[str | None, Path]] = [("train", f) for f in trained]
    given += [("val", f) for f in (validated if val else tested)]
    return given, left_out, "class folders in train and val"


def _require_none_loose(folder: Path, where: str, place: str) -> None:
    """DataError for pictures that lie directly in a folder of class folders."""
    loose = [p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES | UNREAD]
    if loose := [name for name in loose if not is_litter(name)]:
        raise DataError(
            f"{folder}: {len(loose)} images {where} ({first_names(loose)}); move each into {place}"
        )


def _subfolders(folder: Path, mask_folder: str) -> list[Path]:
    """Folders but those of masks and `is_litter`."""
    return [
        f
        for f in sorted(folder.iterdir())
        if f.is_dir() and not is_litter(f.name) and not is_mask_folder(f.name, mask_folder)
    ]


def _in_masks(path: Path, mask_folder: str) -> bool:
    return any(is_mask_folder(part, mask_folder) for part in path.parts[:-1])
