"""MS COCO 2014 as it lies on disk, with image-level labels from its annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from datasets.base import DataError, Dataset, DatasetConfig, Problem, Sample
from datasets.coco.annotations import CLASSES, CocoImage, read_images
from datasets.files.duplicates import duplicate_problems
from datasets.files.fingerprints import dataset_fingerprint
from datasets.files.inspection import as_problem, first_names, sampled_problems
from datasets.files.listing import litter_notes, names_in
from datasets.files.places import expanded
from datasets.limits import OneOf, first_fault

INSTANCES, COCO_STUFF = "instances", "coco_stuff"
GROUND_TRUTHS = (INSTANCES, COCO_STUFF)
SPLITS = ("train", "val")
IMAGES = {"train": 82783, "val": 40504}
"""Images of the full data set."""
OFFICIAL = {"train": 82081, "val": 40137}
"""Those of them that hold an object, which are the protocol."""
PREPARE = "wsss prepare coco2014 --from ARCHIVES --to PATH"


@dataclass(frozen=True)
class CocoConfig(DatasetConfig):
    """MS COCO 2014.

    root: folder with `train2014`, `val2014`, `annotations` and, for scores, `masks`; `prepare coco2014` makes it
    ground_truth: masks that are scored against: ``"instances"``, rendered from the instance annotations, or
          ``"coco_stuff"``, COCO-Stuff's maps. The choice changes scores by points
    """

    name: str = "coco2014"
    ground_truth: Annotated[str, OneOf(GROUND_TRUTHS)] = INSTANCES


class Coco2014(Dataset):
    """MS COCO 2014: images that hold an object; labels are the classes of their annotations, crowds included.

    Annotation files hold outlines too, so that their folder is closed to training as those of the masks are; the
    labels have been read before.
    """

    name = "coco2014"
    summary = "MS COCO 2014, 80 classes; train 82 081, val 40 137 images with an object"
    needs = "dataset.root=PATH of a folder with train2014/, val2014/ and annotations/ (see `prepare`)"
    config = CocoConfig
    classes = CLASSES

    def __init__(self, config: CocoConfig) -> None:
        """Raises DataError for a ground truth that there is not."""
        if fault := first_fault(config, "dataset"):
            raise DataError(fault)
        self.settings = config

    @cached_property
    def folder(self) -> Path:
        """The root."""
        if self.settings.root is None:
            raise DataError(
                "coco2014 needs its folder; set dataset.root=PATH of train2014/, val2014/, annotations/"
            )
        root = expanded(self.settings.root)
        if not root.is_dir():
            raise DataError(
                f"coco2014: no folder {root}; set dataset.root=PATH of train2014/, val2014/, annotations/"
            )
        for name in ("annotations", *map(image_folder, SPLITS)):
            if not (root / name).is_dir():
                raise DataError(
                    f"coco2014: no {name}/ in {root}; set dataset.root=PATH, or make it with {PREPARE}"
                )
        return root

    def prepare(self) -> None:
        """Check that every listed image is there. Reads the annotation files at the first use."""
        for what, remedy in self._missing():
            raise DataError(f"coco2014: {what}; {remedy}")

    def ids(self, split: str) -> tuple[str, ...]:
        return tuple(self._samples[split])

    def sample(self, sample_id: str) -> Sample:
        return self._samples[split_of(sample_id)][sample_id]

    def mask_path(self, sample_id: str) -> Path | None:
        name = f"{sample_id}.png"
        split = split_of(sample_id)
        return self._mask_folders[split] / name if name in self._masks[split] else None

    def mask_directories(self) -> tuple[Path, ...]:
        masks = (mask_folder(self.folder, truth, split) for truth in GROUND_TRUTHS for split in SPLITS)
        return (self.folder / "annotations", *masks)

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return dataset_fingerprint(self, part, split)

    def problems(self) -> Sequence[Problem]:
        """Missing files, a subset of the official images, and what a sample of decoded images shows."""
        try:
            missing = [Problem(f"coco2014: {what}", remedy) for what, remedy in self._missing()]
            found = [*missing, *self._subsets(), *self._without_masks()]
        except DataError as error:
            return [as_problem(error)]
        if missing:
            return found
        images = {split: {i: s.image for i, s in samples.items()} for split, samples in self._samples.items()}
        return found + duplicate_problems(self.name, images) + sampled_problems(self)

    def notes(self) -> list[str]:
        """What was found, for `doctor`. Raises DataError."""
        truth = self.settings.ground_truth
        folders = [*(self.folder / image_folder(split) for split in SPLITS), *self._mask_folders.values()]
        return litter_notes(*folders) + [
            f"{split}: {len(self.ids(split))} images with an object, of {len(self._images[split])};"
            f" {self.masked(split)} with masks (ground truth {truth})"
            for split in SPLITS
        ]

    @cached_property
    def _images(self) -> dict[str, tuple[CocoImage, ...]]:
        return {split: read_images(annotation_file(self.folder, split)) for split in SPLITS}

    @cached_property
    def _samples(self) -> dict[str, dict[str, Sample]]:
        samples: dict[str, dict[str, Sample]] = {}
        for split, images in self._images.items():
            require_names(annotation_file(self.folder, split), images, split)
            folder = self.folder / image_folder(split)
            samples[split] = {
                i.sample_id: Sample(i.sample_id, folder / i.file_name, i.labels) for i in images if i.labels
            }
            if not samples[split]:
                raise DataError(
                    f"{annotation_file(self.folder, split)}: no image holds an object; get it again"
                )
        numbers = [{image.number for image in images} for images in self._images.values()]
        if both := sorted(set.intersection(*numbers)):
            files = " and ".join(str(annotation_file(self.folder, split)) for split in SPLITS)
            raise DataError(
                f"{files}: {len(both)} images are in both ({first_names(list(map(str, both)))}); take both from"
                " annotations_trainval2014.zip again"
            )
        return samples

    @cached_property
    def _mask_folders(self) -> dict[str, Path]:
        return {split: mask_folder(self.folder, self.settings.ground_truth, split) for split in SPLITS}

    @cached_property
    def _masks(self) -> dict[str, frozenset[str]]:
        return {split: names_in(folder) for split, folder in self._mask_folders.items()}

    def _missing(self) -> list[tuple[str, str]]:
        """(what, remedy) for listed images without a file."""
        found = []
        for split, samples in self._samples.items():
            folder = self.folder / image_folder(split)
            files = names_in(folder)
            if missing := [i for i, sample in samples.items() if sample.image.name not in files]:
                what = f"{len(missing)} of {len(samples)} {split} images are not in {folder} ({first_names(missing)})"
                found.append((what, f"unpack {image_folder(split)}.zip again"))
        return found

    def _subsets(self) -> list[Problem]:
        found = []
        for split, official in OFFICIAL.items():
            if (count := len(self.ids(split))) != official:
                relation = "a subset of" if count < official else "not"
                what = (
                    f"coco2014: {split} has {count} images with an object: {relation} the official {official}"
                )
                remedy = "good for trying things, but scores do not compare with published ones"
                found.append(Problem(what, remedy, broken=False))
        return found

    def _without_masks(self) -> list[Problem]:
        """Images without a mask: all of a split is a choice, some of it a fault."""
        found = []
        for split in SPLITS:
            if missing := [i for i in self.ids(split) if self.mask_path(i) is None]:
                what = (
                    f"coco2014: {len(missing)} of {len(self.ids(split))} {split} images have no mask in"
                    f" {self._mask_folders[split]} ({first_names(missing)})"
                )
                archive = (
                    " with stuffthingmaps_trainval2017.zip"
                    if self.settings.ground_truth == COCO_STUFF
                    else ""
                )
                remedy = f"make them with {PREPARE}{archive}; without, nothing is scored there"
                found.append(Problem(what, remedy, broken=len(missing) < len(self.ids(split))))
        return found


def require_names(file: Path, images: Sequence[CocoImage], split: str) -> None:
    """DataError for images of an annotation file that are not named as those of 2014, which say their split."""
    if strays := [i.file_name for i in images if split_of(i.sample_id) != split]:
        raise DataError(
            f"{file}: {len(strays)} images are not named COCO_{split}2014_*.jpg ({first_names(strays)}); take the"
            " annotations of 2014"
        )


def image_folder(split: str) -> str:
    return f"{split}2014"


def annotation_file(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{split}2014.json"


def mask_folder(root: Path, ground_truth: str, split: str) -> Path:
    return root / "masks" / ground_truth / image_folder(split)


def split_of(sample_id: str) -> str:
    """Split of a sample by its id (COCO_val2014_000000000042)."""
    return sample_id.removeprefix("COCO_").partition("2014_")[0]


DATASET = Coco2014
