"""Your own images: with a CSV of image-level labels or in folders named after classes; masks for what is scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from datasets.base import Conversion, DataError, Dataset, DatasetConfig, Problem, Sample
from datasets.files.duplicates import duplicate_problems
from datasets.files.fingerprints import dataset_fingerprint
from datasets.files.inspection import as_problem, first_names, sampled_problems
from datasets.files.listing import PICTURES, UNREAD, files_below, litter_notes, pictures_below
from datasets.files.places import expanded
from datasets.folder.copies import MaskJob, convert, copy_masks, empty_masks
from datasets.folder.good import SETTING, GoodNames
from datasets.folder.layouts import has_mask_folders, read_tree
from datasets.folder.listing import Listing, Tree, declared_classes, without_unused_void
from datasets.folder.mask_files import LOSSLESS, is_mask_folder
from datasets.folder.mask_like import all_beside
from datasets.folder.splits import class_counts, drawn_splits
from datasets.limits import Inside, Within, first_fault


@dataclass(frozen=True)
class FolderConfig(DatasetConfig):
    """Your own data.

    root:    folder with the images, the label file and perhaps masks; or, without a label file, with a folder
             of images for each class and perhaps one named ``good`` (see `Folder`)
    labels:  CSV under root (``index.csv`` is found too). Columns: `id` (or image, file, filename), `labels`
             (or image_labels, classes, class), perhaps `split` (or suggested_split) with train or val. An id
             is a path under `images`, with or without its ending. Several labels are separated by ``;``,
             ``,``, ``|`` or spaces; a name of several words needs one of the first three, be it at its end
             (``pitted surface;``), or its line in `classes`
    classes: a file under root (a name a line, perhaps numbered, perhaps ``background`` first, as any tool spells it;
             or CVAT's labelmap.txt), or names separated by commas. Empty: ``classes.txt`` where it exists, else all
             names found, sorted
    images:  folder of images under root (JPEG, PNG, WebP, BMP, TIFF, JPEG 2000)
    masks:   folder of masks under root, optional. With a label file ``<id>.png``: 0 background, i the i-th
             class, 255 ignored. With class folders see `Folder`
    val_fraction: where no split is given, the share of each class's images that becomes val, in (0, 1), one image at
             least where a class has two; by hash of the id
    seed:    of that draw
    allow_empty: keep images without a label (nothing but background) instead of refusing them; those of
             ``good`` are always kept
    bits:    significant bits of 16-bit images, 8..16: 2^bits - 1 is white. 0: 16, unless the images
             are too dark for that, which is an error that names the remedy
    good_names: folders or labels of images without a defect, separated by commas (``OK,normal``), in any spelling of
             case, spaces and hyphens. Empty: ``good``, and names that look alike are an error, for they may be classes
    longest_side: images whose longest side exceeds this are reduced to it, in pixels, 0 for never. Methods take
             images whole, so this bounds the memory of a run; masks are reduced too, and scores are at that size
    """

    name: str = "folder"
    labels: str = "labels.csv"
    classes: str = ""
    images: str = "images"
    masks: str = "masks"
    val_fraction: Inside = 0.2
    seed: int = 0
    allow_empty: bool = False
    good_names: str = ""
    bits: Annotated[int, Within(8, 16, besides=0)] = 0
    longest_side: Annotated[int, Within(32, besides=0)] = 1024


@dataclass(frozen=True)
class _Usable:
    """What methods are handed: files as they lie, or copies of them.

    originals: copy -> file, None for what was made of nothing
    background: (id, width, height) of images whose mask was made of nothing, for they have no label
    deep: whether any image has 16 bits, of which `bits` count
    reduced, converted: numbers of images made smaller, taken from 16 bits
    """

    samples: dict[str, Sample]
    masks: dict[str, Path]
    originals: dict[Path, Path | None]
    background: tuple[tuple[str, int, int], ...]
    bits: int
    deep: bool
    reduced: int
    converted: int


class Folder(Dataset):
    """Your own images. Without masks there are labels, weights and panels, and scores say "no masks".

    With a label file: ``images/``, ``labels.csv``, perhaps ``masks/`` (see `FolderConfig`).

    Without one, a folder for each class, under root or root's ``images``: ``scratch/*.jpg``, ``dent/*.jpg``, and
    ``good/*.jpg`` (any case) for images without a defect, which train as background. ``train/<class>`` beside
    ``val/<class>`` (or test) give the split, else it is drawn. MVTec AD opens as it is: as its train folder has
    good images only, its images are pooled. Masks (0, and any one other value for the defect) are found in
    ``masks/<class>/<name>.png``, ``ground_truth/<class>/<name>_mask.png``, ``<class>/masks/<name>.png`` or beside images.

    Trees of public sets and of annotation tools open as they are, see `datasets.folder.layouts`.

    In all, an image without a label needs no mask where others have one: it is all background. Greyscale is expanded to
    three channels. Images that are too large or have fewer significant bits than their file are copied once, to the
    user's cache folder.
    """

    name = "folder"
    summary = (
        "your own: images/, labels.csv, optional masks/ and classes.txt; or a folder for each class and good/"
    )
    needs = (
        "dataset.root=PATH of a folder with images/ and labels.csv, or with a folder of images for each class"
    )
    config = FolderConfig

    def __init__(self, config: FolderConfig) -> None:
        """Raises DataError for a setting out of its range."""
        if fault := first_fault(config, "dataset"):
            raise DataError(fault)
        self.settings = config

    @cached_property
    def root(self) -> Path:
        if self.settings.root is None:
            raise DataError(f"folder needs a folder; set {self.needs}")
        root = expanded(self.settings.root)
        if not root.is_dir():
            raise DataError(f"folder: no folder {root}; set {self.needs}")
        return root

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._listing.classes

    @property
    def has_good_parts(self) -> bool:
        """Images without a label; those of a single class are taken for parts too."""
        return len(self.classes) == 1 or any(not s.labels for s in self._listing.samples.values())

    def prepare(self) -> None:
        """Read the labels, find every image, and copy those that cannot be used as they are. Raises DataError."""
        for split, ids in self._splits.items():
            if not ids:
                source, split_by = self._listing.source, self._listing.split_by
                if split_by:
                    raise DataError(f"{source}: no image is in {split}; correct {split_by}")
                raise DataError(
                    f"{source}: val_fraction={self.settings.val_fraction} puts none of {len(self._listing.samples)}"
                    f" images in {split}; change dataset.val_fraction or add a split column"
                )
        _ = self._usable

    def ids(self, split: str) -> tuple[str, ...]:
        return self._splits[split]

    def sample(self, sample_id: str) -> Sample:
        return self._usable.samples[sample_id]

    def mask_path(self, sample_id: str) -> Path | None:
        return self._usable.masks.get(sample_id)

    def conversion(self) -> Conversion:
        """As set; where 16-bit images were looked at to find their bits, what was found."""
        usable = self._usable
        return Conversion(self.settings.longest_side, usable.bits if usable.deep else self.settings.bits)

    def mask_directories(self) -> tuple[Path, ...]:
        """Also those of the masks that copies were made of, and all that are called so, whichever images are listed; not
        those of images, see `mask_files`."""
        originals = {path.parent for path in self._listing.masks.values()}
        return tuple((originals | self._mask_folders | set(super().mask_directories())) - self._image_folders)

    def mask_files(self) -> tuple[Path, ...]:
        """Masks beside images, also beside those that are not listed; those that masks were made of, and annotations."""
        masks = (*self._listing.masks.values(), *self._usable.masks.values())
        among = (path for path in masks if path.parent in self._image_folders)
        return (*self._listing.closed, *self._masks_beside, *among)

    @cached_property
    def _mask_folders(self) -> set[Path]:
        """All folders below the root that are called as folders of masks are."""
        masks = self.settings.masks
        named = {Path(place) for place, _, _ in os.walk(self.root) if is_mask_folder(Path(place).name, masks)}
        return named | ({self.root / masks} if (self.root / masks).is_dir() else set())

    @cached_property
    def _masks_beside(self) -> set[Path]:
        images = {sample.image for sample in self._listing.samples.values()}
        folders = (self.root, self.root / self.settings.images)  # which may be elsewhere
        return all_beside(list({path: None for f in folders for path in pictures_below(f)})) - images

    @cached_property
    def _image_folders(self) -> frozenset[Path]:
        """Folders with images in them or further below."""
        return frozenset(parent for s in self._listing.samples.values() for parent in s.image.parents)

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        usable = self._usable
        how = ""
        if usable.reduced or usable.converted:
            how += f" longest side {self.settings.longest_side}, {usable.bits} of 16 bits"
        if self._listing.binary:
            how += " masks of class folders"
        if part == "masks" and (background := [b for b in usable.background if b[0] in self._splits[split]]):
            how += f" background {background}"
        return dataset_fingerprint(self, part, split, usable.originals, how)

    def problems(self) -> Sequence[Problem]:
        """The first fault of labels or files, masks missing for some images, and what a sample of images shows."""
        try:
            self.prepare()
        except DataError as error:
            return [as_problem(error)]
        found = []
        masks = self.root / self.settings.masks
        for split, ids in self._splits.items():
            missing = [i for i in ids if i not in self._usable.masks]
            if missing and (self._listing.masks or masks.is_dir()):
                what = f"{len(missing)} of {len(ids)} {split} images have no mask ({first_names(missing)})"
                unread = [
                    p.name for p in files_below(masks) if p.suffix.lower() in (PICTURES | UNREAD) - LOSSLESS
                ]
                if unread:
                    what += f"; {len(unread)} files there are not PNG, BMP or TIFF ({first_names(unread)})"
                place = self._listing.mask_place
                remedy = (
                    f"save theirs as {place} to score them" if place else "correct the tree if they should"
                )
                found.append(
                    Problem(f"folder: {what}", f"they train and are not scored; {remedy}", broken=False)
                )
        images = {split: {i: self.sample(i).image for i in ids} for split, ids in self._splits.items()}
        return found + duplicate_problems(self.name, images) + sampled_problems(self)

    def notes(self) -> list[str]:
        """What was found, for `doctor`: counts, where labels, classes and split come from, what was copied."""
        listing, usable = self._listing, self._usable
        split = listing.split_by or f"hash of the id in each class, val_fraction {self.settings.val_fraction}"
        lines = [
            *listing.remarks[:1],
            f"train: {len(self.ids('train'))} images, val: {len(self.ids('val'))} images, by {split}",
            *class_counts(self),
            f"{len(self.classes)} classes: {', '.join(self.classes)}",
            f"{len(usable.masks)} masks" if usable.masks else "no masks: nothing is scored",
            *listing.remarks[1:],
        ]
        lines += litter_notes(self.root)
        if empty := sum(not s.labels for s in listing.samples.values()):
            lines.append(f"{empty} images without an object: all background")
        if usable.reduced:
            side = self.settings.longest_side
            lines.append(f"{usable.reduced} images reduced to {side} pixels, the size of their scores")
        if usable.converted:
            lines.append(f"{usable.converted} 16-bit images of {usable.bits} significant bits")
        return lines

    @cached_property
    def _listing(self) -> Listing:
        declared = declared_classes(self.root, self.settings.classes)
        return without_unused_void(self._listed(declared.names if declared else None), declared)

    def _listed(self, classes: tuple[str, ...] | None) -> Listing:
        settings, good = self.settings, GoodNames.of(self.settings.good_names)
        self._require_mask_folder()
        if both := [name for name in classes or () if name in good]:
            raise DataError(
                f"folder: the class list of {self.root} names {both[0]!r}, which means an image without a defect; take"
                f" it out of the list, or set {SETTING} to another name"
            )
        names = (settings.labels, *(["index.csv"] if settings.labels == FolderConfig.labels else []))
        images, masks = self.root / settings.images, self.root / settings.masks
        tree = Tree(self.root, images, masks, names, classes, good, settings.allow_empty)
        if settings.labels != FolderConfig.labels and tree.label_file is None:
            raise DataError(
                f"folder: no {settings.labels} in {self.root}; add a CSV with columns id and labels, or correct"
                " dataset.labels"
            )
        return read_tree(tree)

    @cached_property
    def _splits(self) -> dict[str, tuple[str, ...]]:
        given, settings = self._listing.splits, self.settings
        undecided = {i: self._listing.samples[i].labels for i, split in given.items() if split is None}
        drawn = drawn_splits(undecided, settings.val_fraction, settings.seed)
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for sample_id, split in given.items():
            splits[split or drawn[sample_id]].append(sample_id)
        return {split: tuple(ids) for split, ids in splits.items()}

    @cached_property
    def _usable(self) -> _Usable:
        listing, settings = self._listing, self.settings
        samples = listing.samples
        made = convert([s.image for s in samples.values()], Conversion(settings.longest_side, settings.bits))
        sizes = {i: made.sizes[s.image] for i, s in samples.items()}
        jobs = [
            MaskJob(
                path,
                made.headers[samples[i].image].size,
                sizes[i],
                self._mask_value(samples[i]),
                listing.several,
            )
            for i, path in listing.masks.items()
            if listing.binary or samples[i].image in made.reduced
        ]
        copies = copy_masks(jobs, len(listing.classes))
        masks = {i: copies.get(path, path) for i, path in listing.masks.items()}
        without = [i for i, s in samples.items() if listing.masks and not s.labels and i not in masks]
        empty = empty_masks(sizes[i] for i in without)
        masks |= {i: empty[sizes[i]] for i in without}
        return _Usable(
            {i: Sample(i, made.copies.get(s.image, s.image), s.labels) for i, s in samples.items()},
            masks,
            {copy: path for path, copy in (made.copies | copies).items()} | dict.fromkeys(empty.values()),
            tuple((i, *sizes[i]) for i in without),
            made.bits,
            any(header.deep for header in made.headers.values()),
            len(made.reduced),
            len(made.converted),
        )

    def _mask_value(self, sample: Sample) -> int | None:
        """Class id of the defect in a mask that only tells defect from background; None for other masks."""
        if not self._listing.binary or len(sample.labels) > 1:
            return None
        return sample.labels[0] + 1 if sample.labels else 0

    def _require_mask_folder(self) -> None:
        """What was set as the folder of masks has to be one."""
        real, name = os.path.realpath, self.settings.masks  # `resolve` raises for links in a circle
        folder = self.root / name
        if real(folder) in (real(self.root / self.settings.images), real(self.root)):
            raise DataError(
                f"folder: dataset.masks={name} is the folder of the images; set it to a folder that holds masks"
                " only, named as their images are, or leave it out if there are none"
            )
        if name != FolderConfig.masks and not folder.is_dir() and not has_mask_folders(self.root, name):
            raise DataError(f"folder: no folder {folder}; correct dataset.masks")


DATASET = Folder
