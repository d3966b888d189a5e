"""What a `folder` data set consists of, whichever layout its files are in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from datasets.base import MOST_CLASSES, DataError, Sample
from datasets.files.listing import CONVERT, UNREAD, files_below
from datasets.folder.good import GoodNames
from datasets.folder.label_file import ClassList, object_classes, read_class_file

TRAIN, VAL, TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
"""What folders of splits are called, in lower case."""
TEST_LEFT_OUT = "images of the folder test are left out"


@dataclass(frozen=True)
class Listing:
    """The images of a data set as they lie on disk.

    source:    the label file, or the folder that holds the class folders
    samples:   by id, images as they are
    splits:    id -> "train" or "val", or None where the split is to be drawn
    split_by:  what says the split, None where it is drawn
    masks:     id -> true mask as it is
    binary:    masks know only defect or not; the class is that of the image, if it has one alone
    several:   of binary masks, values other than 0 may be several
    closed:    files that tell of masks, and that training must not open: those masks are made of, annotations
    layout:    what the tree was taken for, for people; mask_place: where further masks are looked for, "": nowhere
    remarks:   anything else worth knowing, one line each
    """

    source: Path
    classes: tuple[str, ...]
    samples: dict[str, Sample]
    splits: dict[str, str | None]
    split_by: str | None
    masks: dict[str, Path]
    binary: bool = False
    several: bool = False
    closed: tuple[Path, ...] = ()
    layout: str = ""
    mask_place: str = ""
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


def require_readable(path: Path, where: str) -> None:
    """DataError that begins with `where` for a picture in a format that is not read."""
    if path.suffix.lower() in UNREAD:
        raise DataError(f"{where}: {path.name} {CONVERT}")


@dataclass(frozen=True)
class Tree:
    """A folder that is to be read, and what is set for it.

    root, images, masks: folders, of which masks need not be there; label_files: names that are tried
    classes: as declared, or None; allow_empty: keep rows of a label file without a label
    """

    root: Path
    images: Path
    masks: Path
    label_files: tuple[str, ...]
    classes: tuple[str, ...] | None
    good: GoodNames
    allow_empty: bool = False

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """All files below the root, without hidden ones."""
        return tuple(files_below(self.root))

    @cached_property
    def label_file(self) -> Path | None:
        return next((path for name in self.label_files if (path := self.root / name).is_file()), None)


def given_split(path: Path, root: Path) -> str | None:
    """ "train", "val" or "test" by the folders between a root and a file, None where they say nothing."""
    names = [part.lower() for part in path.relative_to(root).parts[:-1]]
    for split, spelled in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        if any(name in spelled for name in names):
            return split
    return None


def settled_splits(
    given: dict[str, str | None],
) -> tuple[dict[str, str | None], str | None, list[str], tuple[str, ...]]:
    """Splits by id with "test" among them -> those of a `Listing`, what says them, ids left out, remarks.

    "test" is val where there is none, and left out where there is. All are drawn where an image has none.
    """
    splits = set(given.values())
    if None in splits or not {"val", "test"} & splits or "train" not in splits:
        return dict.fromkeys(given), None, [], ()
    if "val" not in splits:
        return {i: "val" if split == "test" else split for i, split in given.items()}, "folders", [], ()
    left_out = [i for i, split in given.items() if split == "test"]
    kept = {i: split for i, split in given.items() if split != "test"}
    return kept, "folders", left_out, (TEST_LEFT_OUT,) if left_out else ()
