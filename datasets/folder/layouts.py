"""Which layout a tree of images is in: each is asked what the tree lacks, and the first that lacks nothing reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.base import DataError
from datasets.folder import annotated, industrial
from datasets.folder.class_folders import from_class_folders, has_class_folders
from datasets.folder.label_file import read_label_file
from datasets.folder.labelled import all_names, from_label_file, with_more_labels
from datasets.folder.listing import Listing, Tree


@dataclass(frozen=True)
class Layout:
    """name: for people; lacks: what a tree has not that the layout needs, "" where nothing; read: raises DataError"""

    name: str
    lacks: Callable[[Tree], str]
    read: Callable[[Tree], Listing]


def read_tree(tree: Tree) -> Listing:
    """The listing of the first layout that a tree is in; its remarks say why it is of none of those before.

    Raises DataError.
    """
    reasons = []
    for layout in LAYOUTS:
        if lack := layout.lacks(tree):
            reasons.append(f"{layout.name} ({lack})")
            continue
        listing = layout.read(tree)
        said = f"layout: {listing.layout or layout.name}" + (f"; not {', '.join(reasons)}" if reasons else "")
        return replace(listing, remarks=(said, *listing.remarks))
    raise DataError(
        f"folder: {tree.root} is in no layout that is read: not {', '.join(reasons)}; add {tree.label_files[0]} with"
        " columns id and labels, or set dataset.labels, or sort the images into a folder for each class"
    )


def has_mask_folders(root: Path, name: str) -> bool:
    """Whether some folder below `root` is called so, in any case: masks may be in the class folders."""
    return any(f.is_dir() and f.name.lower() == name.lower() for f in root.rglob("*"))


# ---------------------------------------------------------------- a label file


def _lacks_label_file(tree: Tree) -> str:
    return "" if tree.label_file else f"no {tree.label_files[0]}"


def _read_label_file(tree: Tree) -> Listing:
    file = tree.label_file
    assert file is not None
    if not tree.images.is_dir() and not _lacks_class_folders(tree):
        return _class_folders_with_labels(tree, file)
    return from_label_file(file, tree.classes, tree.images, tree.masks, tree.allow_empty, tree.good)


def _class_folders_with_labels(tree: Tree, file: Path) -> Listing:
    classes = tree.classes
    if classes is None:
        folders = from_class_folders(tree.root, None, tree.masks.name, good=tree.good).classes
        classes = all_names(read_label_file(file, None, True, tree.good), folders)
    listing = from_class_folders(tree.root, classes, tree.masks.name, good=tree.good)
    found = with_more_labels(listing, read_label_file(file, classes, True, tree.good))
    return replace(found, layout=f"{listing.layout}, more labels in {file.name}")


# ---------------------------------------------------------------- a folder for each class


def _lacks_class_folders(tree: Tree) -> str:
    return "" if has_class_folders(_class_root(tree), tree.masks.name) else "no two folders of images"


def _class_root(tree: Tree) -> Path:
    return tree.images if tree.images.is_dir() else tree.root


def _read_class_folders(tree: Tree) -> Listing:
    root = _class_root(tree)
    return from_class_folders(
        root, tree.classes, tree.masks.name, tree.root if root != tree.root else None, tree.good
    )


LABEL_FILE = Layout("a label file", _lacks_label_file, _read_label_file)
LAYOUTS = (
    LABEL_FILE,
    Layout("VisA", industrial.lacks_visa, industrial.read_visa),
    Layout("KolektorSDD2", industrial.lacks_kolektor, industrial.read_kolektor),
    Layout("DAGM", industrial.lacks_dagm, industrial.read_dagm),
    Layout("COCO JSON", annotated.lacks_coco, annotated.read_coco),
    Layout("LabelMe JSON", annotated.lacks_labelme, annotated.read_labelme),
    Layout("CVAT XML", annotated.lacks_cvat, annotated.read_cvat),
    Layout("class folders", _lacks_class_folders, _read_class_folders),
)
"""In the order in which they are asked; what is more special comes first."""
