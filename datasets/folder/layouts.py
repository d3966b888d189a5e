"""What a `folder` data set consists of, from a label CSV or from folders named after classes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from datasets.base import MOST_CLASSES, DataError, Sample
from datasets.files.listing import (
    CONVERT,
    PICTURES,
    UNREAD,
    files_below,
    first_names,
    is_litter,
    pictures_below,
)
from datasets.folder.good import GOOD, GoodNames
from datasets.folder.label_file import (
    ClassList,
    class_index,
    object_classes,
    read_class_file,
    read_label_file,
)
from datasets.folder.mask_like import is_mask_word, require_no_masks
from datasets.folder.spellings import same_names

ONLY_GOOD = GoodNames()
_TRAIN, _VAL, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test",)
_TEST_LEFT_OUT = "images of the folder test are left out"


@dataclass(frozen=True)
class Listing:
    """The images of a data set as they lie on disk.

    source:    the label file, or the folder that holds the class folders
    samples:   by id, images as they are
    splits:    id -> "train" or "val", or None where the split is to be drawn
    split_by:  what says the split, None where it is drawn
    masks:     id -> true mask as it is
    binary:    masks know only defect or not; the class is that of the image
    remarks:   anything else worth knowing, one line each
    """

    source: Path
    classes: tuple[str, ...]
    samples: dict[str, Sample]
    splits: dict[str, str | None]
    split_by: str | None
    masks: dict[str, Path]
    binary: bool = False
    remarks: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for sample in self.samples.values():
            if not _is_text(str(sample.image)):
                raise DataError(
                    f"{str(sample.image)!r}: a name that is not UTF-8; rename it, with convmv for example, or remove it"
                )
        if len(self.classes) > MOST_CLASSES:
            raise DataError(
                f"{self.source}: {len(self.classes)} classes, but label maps of 8 bits tell apart {MOST_CLASSES};"
                " merge some, or list fewer in dataset.classes"
            )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def declared_classes(root: Path, given: str) -> ClassList | None:
    """The classes as set (a file under `root`, or names separated by commas), those of classes.txt, or None."""
    if not given:
        file = root / "classes.txt"
        return read_class_file(file) if file.is_file() else None
    if (root / given).is_file():
        return read_class_file(root / given)
    if given.endswith(".txt"):
        raise DataError(f"folder: no class file {root / given}; correct dataset.classes")
    names = [name.strip() for name in given.split(",")]
    return object_classes([name for name in names if name], f"dataset.classes={given}")


def without_unused_void(listing: Listing, declared: ClassList | None) -> Listing:
    """`declared`'s remark added; a ``void`` at its end that no image is labelled with is VOC's 255 and no class."""
    if declared is None:
        return listing
    used = {label for sample in listing.samples.values() for label in sample.labels}
    classes, left_out = listing.classes, declared.left_out
    if declared.unsure and len(classes) - 1 not in used:
        classes, left_out = classes[:-1], (*left_out, declared.unsure)
    remark = replace(declared, left_out=left_out).remark
    return replace(listing, classes=classes, remarks=(*listing.remarks, *([remark] if remark else [])))


# ---------------------------------------------------------------- a label file


def from_label_file(
    file: Path,
    classes: tuple[str, ...] | None,
    images: Path,
    masks: Path,
    allow_empty: bool,
    good: GoodNames = ONLY_GOOD,
) -> Listing:
    """The images that a label CSV lists; ids are their paths under `images` without their endings.

    Masks are ``<masks>/<id>.png`` and hold class ids. Raises DataError, with the row's number.
    """
    labels = read_label_file(file, classes, allow_empty, good)
    if not images.is_dir():
        raise DataError(f"folder: no image folder {images}; create it or set dataset.images")
    by_path, by_stem = _index_images(images)
    samples: dict[str, Sample] = {}
    first_row: dict[str, int] = {}
    splits: dict[str, str | None] = {}
    for row in labels.rows:
        where = f"{file} row {row.number}"
        name = row.id.removeprefix(f"{images.name}/") if row.id not in by_path else row.id
        candidates = [name] if name in by_path else by_stem.get(name, [])
        if not candidates:
            raise DataError(f"{where}: no image {row.id!r} in {images}; add the image or remove the row")
        if len(candidates) > 1:
            raise DataError(f"{where}: id {row.id!r} fits {first_names(candidates)}; give the ending too")
        path = by_path[candidates[0]]
        _require_readable(path, where)
        sample_id = candidates[0][: -len(path.suffix)]
        if sample_id in samples:
            raise DataError(f"{where}: id {row.id!r} repeats row {first_row[sample_id]}; remove one of them")
        first_row[sample_id] = row.number
        samples[sample_id] = Sample(sample_id, path, row.labels)
        splits[sample_id] = row.split
    require_no_masks([s.image for s in samples.values()])
    left_out = (f"{labels.left_out} images of a split named test are left out",) if labels.left_out else ()
    split_by = f"column {labels.split_column}" if labels.split_column else None
    found = _masks_by_id(masks)
    kept = {i: found[i] for i in samples if i in found}
    if not kept and (others := pictures_below(masks)):
        raise _none_is_a_mask(
            masks, others, f"name each <id>.png, such as {next(iter(samples))}.png, or set dataset.masks"
        )
    return Listing(file, labels.classes, samples, splits, split_by, kept, remarks=left_out)


def _none_is_a_mask(folder: Path, files: list[Path], remedy: str) -> DataError:
    example = files[0].relative_to(folder).as_posix()
    return DataError(
        f"folder: none of the {len(files)} files in {folder} ({example}, ...) is a mask of a listed image;"
        f" {remedy}"
    )


def _masks_by_id(folder: Path) -> dict[str, Path]:
    return {
        p.relative_to(folder).with_suffix("").as_posix(): p
        for p in files_below(folder)
        if p.suffix.lower() == ".png"
    }


def _index_images(folder: Path) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """Images by relative path, and relative paths by relative path without the ending."""
    by_path = {p.relative_to(folder).as_posix(): p for p in pictures_below(folder)}
    by_stem: dict[str, list[str]] = {}
    for name, path in by_path.items():
        by_stem.setdefault(name[: -len(path.suffix)], []).append(name)
    return by_path, by_stem


def _require_readable(path: Path, where: str) -> None:
    if path.suffix.lower() in UNREAD:
        raise DataError(f"{where}: {path.name} {CONVERT}")


# ---------------------------------------------------------------- a folder for each class


def has_class_folders(root: Path, mask_folder: str) -> bool:
    """Whether images lie in folders below `root` that may be named after classes: two at least."""
    return sum(any(pictures_below(f)) for f in _subfolders(root, mask_folder)) > 1


def has_mask_folders(root: Path, name: str) -> bool:
    """Whether some folder below `root` is called so, in any case: masks may lie in the class folders."""
    return any(f.is_dir() and f.name.lower() == name.lower() for f in root.rglob("*"))


def from_class_folders(
    root: Path,
    classes: tuple[str, ...] | None,
    mask_folder: str,
    beside: Path | None = None,
    good: GoodNames = ONLY_GOOD,
) -> Listing:
    """Every image carries the name of its folder as its only label; none in the folders that `good` names.

    Layouts, all below `root`: ``<class>/...``, ``train/<class>/...`` with ``val/<class>/...`` (without a val
    folder, ``test`` is it), and MVTec AD's, whose train folder has good images only: its train and test images
    are pooled, and the split is drawn. Ids are paths below `root` without their endings.

    Masks are PNG, 0 where there is no defect and one other value where there is, under `mask_folder` or a folder
    whose name says so (`mask_like.WORDS`: masks, ground_truth, GT, label, annotations, ...), named as the image or
    with ``_mask`` appended: ``masks/<id>.png``, ``masks/<class>/<name>.png`` (as MVTec AD's) or
    ``<class>/masks/<name>.png``. Masks among the pictures are refused.

    classes: names in the order of their mask values, or None: the folders' names, sorted
    beside:  another folder whose folders of masks count
    Raises DataError.
    """
    folders, remark = _class_folders(root, mask_folder, good)
    found = sorted({f.name for _, f in folders})
    good.require_sure(found, root)
    names = [name for name in found if name not in good]
    _require_apart(root, folders, names)
    if not names:
        raise DataError(f"folder: {root} has good images only; add a folder of images for each class")
    if classes is None:
        classes = tuple(names)
    samples: dict[str, Sample] = {}
    splits: dict[str, str | None] = {}
    names_of: dict[str, tuple[Path, str]] = {}
    for split, folder in folders:
        labels = () if folder.name in good else (class_index(str(folder), folder.name, classes),)
        mine = [p for p in pictures_below(folder) if not _in_masks(p.relative_to(folder), mask_folder)]
        if not mine:
            raise DataError(f"{folder}: no images in this class folder; add some or remove the folder")
        for path in mine:
            _require_readable(path, str(folder))
            sample_id = path.relative_to(root).with_suffix("").as_posix()
            if sample_id in samples:
                clash = f"{samples[sample_id].image.name}, {path.name}"
                raise DataError(f"{folder}: {clash} have one name; rename or remove one of them")
            samples[sample_id] = Sample(sample_id, path, labels)
            splits[sample_id] = split
            names_of[sample_id] = (folder, path.relative_to(folder).with_suffix("").as_posix())
    require_no_masks([s.image for s in samples.values()])
    remark += _inner_splits(splits, names_of)
    split_by = None if None in splits.values() else "folders"
    roots = [root, *([beside] if beside else [])]
    masks = _find_masks(roots, samples, names_of, mask_folder)
    if _TEST_LEFT_OUT not in remark:  # whose masks they may be
        remark += _unused_masks(roots, masks, mask_folder)
    return Listing(root, classes, samples, splits, split_by, masks, binary=True, remarks=remark)


def _inner_splits(splits: dict[str, str | None], names_of: dict[str, tuple[Path, str]]) -> tuple[str, ...]:
    """A remark where class folders hold split folders, which say nothing there."""
    named = {name.split("/")[0] for i, (_, name) in names_of.items() if splits[i] is None and "/" in name}
    inner = sorted(name for name in named if name.lower() in (*_TRAIN, *_VAL, *_TEST))
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
) -> tuple[list[tuple[str | None, Path]], tuple[str, ...]]:
    """(split or None, class folder) of each, and remarks about what was made of the split folders."""
    top = _subfolders(root, mask_folder)
    train, val, test = ([f for f in top if f.name.lower() in names] for names in (_TRAIN, _VAL, _TEST))
    if not train:
        _require_none_loose(root, "beside the class folders", "the folder of its class")
        return [(None, f) for f in top], ()
    others = [f.name for f in top if f not in (*train, *val, *test)]
    if others or not (val or test):
        what = f"{', '.join(others)} beside train" if others else "train without val or test"
        raise DataError(
            f"{root}: folder {what}; put class folders into train and val, or use no split folders"
        )
    for folder in (*train, *(val or test)):
        example = f"a folder of its class, such as {folder.name}/scratch or {folder.name}/{GOOD}"
        _require_none_loose(folder, "in no class folder", example)
    trained = [f for s in train for f in _subfolders(s, mask_folder)]
    held = [f for s in val or test for f in _subfolders(s, mask_folder)]
    if all(f.name in good for f in trained):
        remark = f"{train[0].name} has good images only: pooled with {(val or test)[0].name}, split drawn"
        return [(None, f) for f in (*trained, *held)], (remark,)
    left_out = (_TEST_LEFT_OUT,) if val and test else ()
    return [*(("train", f) for f in trained), *(("val", f) for f in held)], left_out


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
        if f.is_dir() and not is_litter(f.name) and not _is_mask_folder(f.name, mask_folder)
    ]


def _is_mask_folder(name: str, mask_folder: str) -> bool:
    return is_mask_word(name) or name.lower() == mask_folder.lower()


def _in_masks(path: Path, mask_folder: str) -> bool:
    return any(_is_mask_folder(part, mask_folder) for part in path.parts[:-1])


def _find_masks(
    roots: list[Path],
    samples: dict[str, Sample],
    names_of: dict[str, tuple[Path, str]],
    mask_folder: str,
) -> dict[str, Path]:
    """Mask of each image that has one.

    Raises DataError where two fit, or one fits two images.
    """
    files_in = cache(lambda folder: [_masks_by_id(d) for d in _mask_folders(folder, mask_folder)])
    found: dict[str, Path] = {}
    owner: dict[Path, str] = {}
    for sample_id in samples:
        folder, name = names_of[sample_id]
        above = [files for parent in {*roots, folder.parent} for files in files_in(parent)]
        places = [(files, key) for files in above for key in (f"{folder.name}/{name}", sample_id)]
        places += [(files, name) for files in files_in(folder)]
        fits = {
            files[key + end]: None for files, key in places for end in ("", "_mask") if key + end in files
        }
        if len(fits) > 1:
            raise DataError(
                f"{samples[sample_id].image}: {len(fits)} masks fit ({first_names(sorted(map(str, fits)))}); keep one"
            )
        for mask in fits:
            if mask in owner:
                raise DataError(f"{mask}: fits images {owner[mask]} and {sample_id}; give each its own mask")
            owner[mask] = sample_id
            found[sample_id] = mask
    return found


def _unused_masks(roots: list[Path], masks: dict[str, Path], mask_folder: str) -> tuple[str, ...]:
    """A remark on files in folders of masks that fit no image; DataError where none in any of them does."""
    used = set(masks.values())
    unused: dict[Path, list[Path]] = {}
    for root in roots:
        for path in pictures_below(root):
            place = next((p for p in path.parents if _is_mask_folder(p.name, mask_folder)), root)
            if place.is_relative_to(root) and place != root and path not in used:
                unused.setdefault(place, []).append(path)
    if not unused:
        return ()
    folder, files = next(iter(unused.items()))
    if not used:
        remedy = (
            "save each as PNG under its image's name, with or without _mask at its end, or move the folder"
        )
        raise _none_is_a_mask(folder, files, f"{remedy} elsewhere")
    count = sum(map(len, unused.values()))
    return (f"{count} files in folders of masks belong to no image ({files[0]}, ...)",)


def _mask_folders(folder: Path, mask_folder: str) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if f.is_dir() and _is_mask_folder(f.name, mask_folder)]
