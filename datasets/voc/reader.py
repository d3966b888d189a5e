"""PASCAL VOC 2012 as it lies on disk, with image-level labels from its `Annotations`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from xml.etree import ElementTree

from datasets.base import DataError, Dataset, DatasetConfig, Problem, Sample
from datasets.files.duplicates import duplicate_problems
from datasets.files.fingerprints import dataset_fingerprint
from datasets.files.inspection import as_problem, first_names, sampled_problems
from datasets.files.listing import litter_notes, names_in, open_regular
from datasets.files.places import expanded
from datasets.limits import OneOf, first_fault
from datasets.voc.pascal_context import PascalContext

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""In the official order: class i has mask value i + 1."""

CLASS_MASKS = ("SegmentationClass", "SegmentationClassAug")
"""Folders of the masks that are scored against, the first that has one."""
INSTANCE_MASKS = "SegmentationObject"
OFFICIAL = {"train": 1464, "train_aug": 10582, "val": 1449, "test": 1456}
"""Images in each list of the full data set."""


TRAIN_LISTS = ("auto", "train", "train_aug", "sbd")


@dataclass(frozen=True)
class VocConfig(DatasetConfig):
    """PASCAL VOC 2012.

    root:  `VOCdevkit`, `VOCdevkit/VOC2012`, or the folder that contains `VOCdevkit`
    train: list of training images: ``"train"`` (1 464), ``"train_aug"`` (10 582, as listed in ImageSets/
           Segmentation/train_aug.txt), ``"sbd"`` (the same 10 582, from the lists under `sbd_root`), or
           ``"auto"``: the largest that is there (train_aug.txt, else `sbd_root`, else train). `doctor` says
           which it was, and its count
    sbd_root: the Semantic Boundaries Dataset (`benchmark_RELEASE`, or its `dataset` folder); only its two
           lists are read, the images being VOC's own
    context_root: PASCAL-Context (`datasets.voc.pascal_context`), for the confusion with water, railway and platform
    """

    name: str = "voc2012"
    train: Annotated[str, OneOf(TRAIN_LISTS)] = "auto"
    sbd_root: str | None = None
    context_root: str | None = None


class Voc2012(Dataset):
    """PASCAL VOC 2012: JPEGImages, Annotations (labels), ImageSets/Segmentation (lists), masks for scoring.

    Labels are the classes of the annotated objects, those marked difficult included; masks are never read for
    them. Masks come from SegmentationClass, and from SegmentationClassAug for images that have none there.
    Test images have neither labels nor masks: they are no split, `test_samples` lists them.
    """

    name = "voc2012"
    summary = "PASCAL VOC 2012, 20 classes; train 1 464 or train_aug 10 582, val 1 449"
    needs = "dataset.root=PATH of VOCdevkit"
    config = VocConfig
    classes = CLASSES

    def __init__(self, config: VocConfig) -> None:
        """Raises DataError for a list that there is not."""
        if fault := first_fault(config, "dataset"):
            raise DataError(fault)
        self.settings = config
        self._context: PascalContext | None = None
        if config.context_root is not None:
            self._context = PascalContext(expanded(config.context_root), self.classes)
            self.contexts = self._context.contexts

    @cached_property
    def folder(self) -> Path:
        """The `VOC2012` folder."""
        if self.settings.root is None:
            raise DataError("voc2012 needs its folder; set dataset.root=PATH of VOCdevkit")
        root = expanded(self.settings.root)
        if not root.is_dir():
            raise DataError(f"voc2012: no folder {root}; set dataset.root=PATH of VOCdevkit")
        for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
            if (folder / "JPEGImages").is_dir():
                return folder
        raise DataError(
            f"voc2012: no VOC2012/JPEGImages under {root}; set dataset.root=PATH of VOCdevkit"
            " (unpack VOCtrainval_11-May-2012.tar)"
        )

    @cached_property
    def train_list(self) -> str:
        """Which list `train` is: "train", "train_aug" or "sbd"; resolves "auto"."""
        choice = self.settings.train
        if choice == "auto":
            if self._list_file("train_aug").is_file():
                return "train_aug"
            return "sbd" if self.settings.sbd_root is not None else "train"
        return choice

    def prepare(self) -> None:
        """Check that every listed image and its annotation are there. Reads folder listings only."""
        for what, remedy in self._missing():
            raise DataError(f"voc2012: {what}; {remedy}")

    def ids(self, split: str) -> tuple[str, ...]:
        return self._splits[split]

    def lists(self) -> dict[str, tuple[str, ...]]:
        """Every list in ImageSets/Segmentation (train, val, perhaps train_aug, val_part) by name, and SBD's union."""
        found = {file.stem: read_list(file) for file in sorted(self._list_file("val").parent.glob("*.txt"))}
        return found if self.train_list != "sbd" else found | {"train_aug": self.ids("train")}

    def sample(self, sample_id: str) -> Sample:
        return Sample(sample_id, self._image(sample_id), self._labels(sample_id))

    def test_samples(self) -> tuple[Sample, ...]:
        """The images of the test list, without labels. Raises DataError if the list or an image is missing."""
        files = names_in(self.folder / "JPEGImages")
        if missing := [i for i in self._test if f"{i}.jpg" not in files]:
            raise DataError(
                f"voc2012: {len(missing)} of {len(self._test)} ids of the test list have no image in"
                f" {self.folder / 'JPEGImages'} ({first_names(missing)}); unpack VOC2012test.tar again"
            )
        return tuple(Sample(i, self._image(i), ()) for i in self._test)

    def mask_path(self, sample_id: str) -> Path | None:
        for folder, names in self._masks.items():
            if f"{sample_id}.png" in names:
                return self.folder / folder / f"{sample_id}.png"
        return None

    def context_path(self, sample_id: str) -> Path | None:
        return None if self._context is None else self._context.path(sample_id)

    def mask_directories(self) -> tuple[Path, ...]:
        """All that hold pixel labels, whether or not the lists name masks there: each tells of the others."""
        context = () if self._context is None else (self._context.folder,)
        return (*(self.folder / name for name in (*CLASS_MASKS, INSTANCE_MASKS)), *context)

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return dataset_fingerprint(self, part, split)

    def problems(self) -> Sequence[Problem]:
        """Missing files, a subset of the official lists, and what a sample of decoded images shows."""
        try:
            missing = [Problem(f"voc2012: {what}", remedy) for what, remedy in self._missing()]
            found = missing + self._subsets()
        except DataError as error:
            return [as_problem(error)]
        if missing:
            return found
        images = {split: {i: self._image(i) for i in ids} for split, ids in self._splits.items()}
        return found + duplicate_problems(self.name, images) + sampled_problems(self)

    def notes(self) -> list[str]:
        """What was found, for `doctor`: the lists in use and their counts. Raises DataError."""
        masks = sum(self.mask_path(i) is not None for i in self.ids("train"))
        return [
            f"train: {len(self.ids('train'))} images (list {self.train_list}), {masks} with masks",
            f"val: {len(self.ids('val'))} images",
            *([f"test: {len(self._test)} images"] if self._list_file("test").is_file() else []),
            *litter_notes(*(self.folder / name for name in ("JPEGImages", "Annotations", *CLASS_MASKS))),
        ]

    @cached_property
    def _splits(self) -> dict[str, tuple[str, ...]]:
        val = read_list(self._list_file("val"))
        listed = "train" if self.train_list == "sbd" else self.train_list
        train = read_list(self._list_file(listed))
        _require_disjoint(self._list_file(listed), train, self._list_file("val"), val)
        if self.train_list != "sbd":
            return {"train": train, "val": val}
        union = {i for file in self._sbd_lists() for i in read_list(file)}
        union.update(train)
        return {"train": tuple(sorted(union - set(val))), "val": val}

    @cached_property
    def _test(self) -> tuple[str, ...]:
        file = self._list_file("test")
        if not file.is_file():
            raise DataError(f"voc2012: no test list {file}; unpack VOC2012test.tar there")
        test = read_list(file)
        for split, ids in self._splits.items():
            _require_disjoint(file, test, self._list_file(split), ids)
        return test

    def _image(self, sample_id: str) -> Path:
        return self.folder / "JPEGImages" / f"{sample_id}.jpg"

    def _list_file(self, name: str) -> Path:
        return self.folder / "ImageSets" / "Segmentation" / f"{name}.txt"

    def _sbd_lists(self) -> tuple[Path, Path]:
        if self.settings.sbd_root is None:
            raise DataError("voc2012: dataset.train=sbd needs SBD's lists; set dataset.sbd_root=PATH")
        root = expanded(self.settings.sbd_root)
        for folder in (root, root / "dataset", root / "benchmark_RELEASE" / "dataset"):
            if (folder / "train.txt").is_file() and (folder / "val.txt").is_file():
                return folder / "train.txt", folder / "val.txt"
        raise DataError(
            f"voc2012: no train.txt and val.txt of SBD under {root};"
            " set dataset.sbd_root=PATH of benchmark_RELEASE"
        )

    @cached_property
    def _masks(self) -> dict[str, frozenset[str]]:
        return {name: names_in(self.folder / name) for name in CLASS_MASKS}

    def _missing(self) -> list[tuple[str, str]]:
        """(what, remedy) for listed ids without a file of their own."""
        images, annotations = names_in(self.folder / "JPEGImages"), names_in(self.folder / "Annotations")
        found = []
        for split, ids in self._splits.items():
            name = f"{self.train_list if split == 'train' else split} list"
            for kind, folder, suffix, files in (
                ("image", "JPEGImages", ".jpg", images),
                ("annotation", "Annotations", ".xml", annotations),
            ):
                missing = [i for i in ids if i + suffix not in files]
                if missing:
                    what = (
                        f"{len(missing)} of {len(ids)} ids of the {name} have no {kind}"
                        f" in {self.folder / folder} ({first_names(missing)})"
                    )
                    found.append((what, "unpack the data set again, or take them off the list"))
        return found

    def _subsets(self) -> list[Problem]:
        found = []
        for split, ids in self._splits.items():
            name = {"train": "train_aug" if self.train_list == "sbd" else self.train_list}.get(split, split)
            official = OFFICIAL[name]
            if len(ids) != official:
                relation = "a subset of" if len(ids) < official else "not"
                what = f"voc2012: {split} has {len(ids)} images: {relation} the official {official} of {name}"
                remedy = "good for trying things, but scores do not compare with published ones"
                found.append(Problem(what, remedy, broken=False))
        return found

    @cached_property
    def _label_memory(self) -> dict[str, tuple[int, ...]]:
        return {}

    def _labels(self, sample_id: str) -> tuple[int, ...]:
        if sample_id not in self._label_memory:
            self._label_memory[sample_id] = read_labels(self.folder / "Annotations" / f"{sample_id}.xml")
        return self._label_memory[sample_id]


def read_labels(annotation: Path) -> tuple[int, ...]:
    """Sorted class indices (from 0) of the objects in a VOC annotation.

    Only `object/name` counts (a person's annotated `part`s have names too). Names that are not VOC classes
    are left out. Raises DataError if the file is missing, malformed, declares a document type (where XML's
    entity attacks live), or has no known object.
    """
    try:
        with open_regular(annotation) as file:
            text = file.read()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise DataError(f"{annotation}: declares a document type, annotations do not; replace the file")
        objects = ElementTree.fromstring(text).findall("object")
    except OSError as error:
        raise DataError(
            f"{annotation}: cannot be read ({error.strerror}); labels come from Annotations, unpack it"
        ) from None
    except ElementTree.ParseError as error:
        raise DataError(f"{annotation}: not well-formed XML ({error}); copy the file again") from None
    names = {(o.findtext("name") or "").strip() for o in objects}
    labels = tuple(i for i, name in enumerate(CLASSES) if name in names)
    if not labels:
        seen = ", ".join(sorted(names)) or "none"
        raise DataError(
            f"{annotation}: no object of the 20 classes (objects: {seen});"
            " correct it, or take the id off the list"
        )
    return labels


def read_list(file: Path) -> tuple[str, ...]:
    """Ids of a list, in its order. Lines are ids, or ``/JPEGImages/x.jpg /SegmentationClassAug/x.png``."""
    try:
        with open_regular(file) as opened:
            lines = opened.read().decode().splitlines()
    except OSError as error:
        raise DataError(f"voc2012: list {file} cannot be read ({error.strerror}); restore it") from None
    except UnicodeDecodeError:
        raise DataError(f"voc2012: list {file} is no text; restore it") from None
    ids = [PurePosixPath(line.split()[0]).stem for line in lines if line.strip()]
    if not ids:
        raise DataError(f"voc2012: list {file} is empty; restore it")
    if len(set(ids)) != len(ids):
        twice = [i for i, count in Counter(ids).items() if count > 1]
        raise DataError(f"{file}: {len(twice)} ids appear twice ({first_names(twice)}); remove the repeats")
    return tuple(ids)


def _require_disjoint(file: Path, ids: Sequence[str], other: Path, others: Sequence[str]) -> None:
    """DataError, with their number, for ids of one list that are in the other, too."""
    if not (both := sorted(set(ids) & set(others))):
        return
    what = f"{file}: {len(both)} of its {len(ids)} ids are in {other.name} too ({first_names(both)})"
    plain = not any("/" in line for place in (file, other) for line in place.read_text().splitlines())
    if len(both) == len(ids) or not plain:
        raise DataError(f"{what}; restore the lists: no image may be in two of them")
    listed, kept = shlex.quote(str(file)), shlex.quote(f"{file}.new")
    command = f"grep -vxFf {shlex.quote(str(other))} {listed} > {kept} && mv {kept} {listed}"
    raise DataError(f"{what}; take them off this list: {command}")


DATASET = Voc2012
