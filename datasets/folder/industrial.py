"""Layouts of public sets of industrial defects: VisA, KolektorSDD2, DAGM."""

from __future__ import annotations

import csv
from pathlib import Path

from datasets.base import DataError, Sample
from datasets.files.listing import PICTURES, first_names
from datasets.folder.label_file import class_index
from datasets.folder.listing import TEST, TRAIN, Listing, Tree, given_split, settled_splits
from datasets.folder.mask_files import is_empty

VISA_CSV, VISA_SPLITS = "image_anno.csv", "split_csv"
DEFECT = "defect"
"""The class of sets that know no kinds."""


# ---------------------------------------------------------------- VisA


def lacks_visa(tree: Tree) -> str:
    """What the folder of one of VisA's objects has and this one has not; "" where nothing."""
    if (tree.root / VISA_CSV).is_file() or (tree.root / VISA_SPLITS).is_dir():
        return ""
    return f"no {VISA_CSV}"


def read_visa(tree: Tree) -> Listing:
    """An object's images as its ``image_anno.csv`` lists them (image, label, mask), the split drawn.

    Labels are kinds of defects separated by commas, or ``normal``. A mask does not say which of several kinds its
    pixels are, so images of several have none. Raises DataError, with the row's number.
    """
    file = tree.root / VISA_CSV
    if not file.is_file():
        objects = sorted(path.parent.name for path in tree.root.glob(f"*/{VISA_CSV}"))
        example = objects[0] if objects else "candle"
        raise DataError(
            f"{tree.root}: VisA has {len(objects)} objects ({first_names(objects)}), each a data set; choose one:"
            f" dataset.root={tree.root / example}"
        )
    rows = _rows(file, ("image", "label", "mask"))
    kinds = {number: _kinds(row["label"]) for number, row in rows}
    classes = tree.classes or tuple(sorted({kind for of in kinds.values() for kind in of}))
    if not classes:
        raise DataError(f"{file}: all images are normal; take the whole file of VisA")
    samples: dict[str, Sample] = {}
    masks: dict[str, Path] = {}
    several = 0
    for number, row in rows:
        where = f"{file} row {number}"
        image = _below(tree.root, row["image"], where)
        sample_id = image.relative_to(tree.root).with_suffix("").as_posix().removeprefix("Data/Images/")
        if sample_id in samples:
            raise DataError(f"{where}: {row['image']} is listed twice; remove one of the rows")
        labels = sorted({class_index(where, kind, classes) for kind in kinds[number]})
        samples[sample_id] = Sample(sample_id, image, tuple(labels))
        if row["mask"] and len(labels) == 1:
            masks[sample_id] = _below(tree.root, row["mask"], where)
        several += len(labels) > 1
    said = (
        f"{several} images of several kinds of defects are not scored: their masks do not say which is which"
    )
    return Listing(
        file,
        classes,
        samples,
        dict.fromkeys(samples),
        None,
        masks,
        binary=True,
        several=True,
        layout="VisA",
        remarks=(said,) if several else (),
    )


def _rows(file: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.DictReader(opened, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error}); take it from VisA again") from None
    if not rows or any(column not in rows[0] for column in columns):
        raise DataError(
            f"{file}: not VisA's, whose columns are {', '.join(columns)}; take it from VisA again"
        )
    return [(number, {c: (row[c] or "").strip() for c in columns}) for number, row in enumerate(rows, 2)]


def _kinds(label: str) -> list[str]:
    return [kind for part in label.split(",") if (kind := part.strip()) and kind.lower() != "normal"]


def _below(root: Path, name: str, where: str) -> Path:
    """A file that VisA names from the folder above the object's, or from the object's own."""
    parts = Path(name).parts
    if not name or Path(name).is_absolute() or ".." in parts:
        raise DataError(f"{where}: {name!r} is no path below {root}; take the file from VisA again")
    path = root.joinpath(*(parts[1:] if parts[0] == root.name else parts))
    if not path.is_file():  # whatever the object's folder is called now
        path = root.joinpath(*parts[1:])
    if not path.is_file():
        raise DataError(f"{where}: no file {name} below {root}; add it, or remove the row")
    return path


# ---------------------------------------------------------------- KolektorSDD2


def lacks_kolektor(tree: Tree) -> str:
    for split in ("train", "test"):
        if not any((tree.root / split).glob("*_GT.png")):
            return f"no {split}/*_GT.png"
    return ""


def read_kolektor(tree: Tree) -> Listing:
    """``train`` and ``test`` with ``<name>.png`` and its mask ``<name>_GT.png``; test is val.

    Nothing else says which images have a defect, so what is read of the masks here is whether they mark anything.
    """
    classes = _one_class(tree, DEFECT)
    samples: dict[str, Sample] = {}
    splits: dict[str, str | None] = {}
    masks: dict[str, Path] = {}
    for folder, split in (("train", "train"), ("test", "val")):
        files = [path for path in tree.files if path.parent == tree.root / folder and _is_picture(path)]
        truth = {p.stem.removesuffix("_GT"): p for p in files if p.stem.endswith("_GT")}
        images = [path for path in files if not path.stem.endswith("_GT")]
        if missing := [path.name for path in images if path.stem not in truth]:
            raise DataError(
                f"{tree.root / folder}: {len(missing)} images have no mask ({first_names(missing)}), which alone says"
                " whether they have a defect; add <name>_GT.png for each"
            )
        for path in images:
            sample_id = f"{folder}/{path.stem}"
            empty = is_empty(truth[path.stem])
            samples[sample_id] = Sample(sample_id, path, () if empty else (0,))
            splits[sample_id] = split
            masks[sample_id] = truth[path.stem]
    return Listing(
        tree.root,
        classes,
        samples,
        splits,
        "folders",
        masks,
        binary=True,
        several=True,
        layout="KolektorSDD2",
        remarks=("an image has a defect where its mask marks anything",),
    )


# ---------------------------------------------------------------- DAGM


def lacks_dagm(tree: Tree) -> str:
    return "" if _dagm_classes(tree) else "no Train/Label or Test/Label, nor such in folders of classes"


def read_dagm(tree: Tree) -> Listing:
    """``<class>/Train`` and ``<class>/Test`` (val), or those of one class; ``Label/<name>_label.PNG`` is a defect's mask.

    An image without such a mask has no defect. The split is drawn where one of the two is missing. Raises DataError for
    a mask that fits no image.
    """
    folders = _dagm_classes(tree)
    classes = tree.classes or tuple(folder.name for folder in folders)
    samples: dict[str, Sample] = {}
    given: dict[str, str | None] = {}
    masks: dict[str, Path] = {}
    for folder, part in ((of, part) for of in folders for part in _dagm_parts(of)):
        label = class_index(str(folder), folder.name, classes)
        truth = {
            path.stem.removesuffix("_label"): path
            for path in tree.files
            if path.parent == part / "Label" and _is_picture(path)
        }
        images = {path.stem: path for path in tree.files if path.parent == part and _is_picture(path)}
        if lost := [path.name for stem, path in truth.items() if stem not in images]:
            raise DataError(
                f"{part / 'Label'}: {len(lost)} masks fit no image ({first_names(lost)}); call each as its image in"
                f" {part} with _label at its end, or remove it"
            )
        for stem, path in images.items():
            sample_id = path.relative_to(tree.root).with_suffix("").as_posix()
            samples[sample_id] = Sample(sample_id, path, (label,) if stem in truth else ())
            given[sample_id] = given_split(path, folder)
            if stem in truth:
                masks[sample_id] = truth[stem]
    splits, split_by, _, _ = settled_splits(given)
    return Listing(
        tree.root,
        classes,
        samples,
        splits,
        split_by,
        masks,
        binary=True,
        several=True,
        layout="DAGM",
        remarks=("an image has a defect where it has a mask",),
    )


def _dagm_classes(tree: Tree) -> list[Path]:
    """Folders of classes: those with Train or Test, one of which has Label; the root itself, if it is one."""
    holders = [tree.root, *sorted(path for path in tree.root.iterdir() if path.is_dir())]
    whole = [path for path in holders if _dagm_parts(path)]
    if tree.root in whole:
        whole = [tree.root]
    labelled = [part for path in whole for part in _dagm_parts(path) if (part / "Label").is_dir()]
    return whole if labelled else []


def _dagm_parts(folder: Path) -> list[Path]:
    """Its folders Train and Test, those that are there."""
    return [path for names in (TRAIN, TEST) if (path := _named(folder, names)) is not None]


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next(
        (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.lower() in names), None
    )


def _one_class(tree: Tree, name: str) -> tuple[str, ...]:
    """The declared class, where there is one, else `name`."""
    if tree.classes is not None and len(tree.classes) != 1:
        raise DataError(
            f"{tree.root}: has one class, but {len(tree.classes)} are declared; declare one, or none"
        )
    return tree.classes or (name,)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES
