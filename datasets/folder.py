"""Your own images: a folder of images, a CSV of image-level labels and, for what is scored, masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from datasets.base import DataError, Dataset, DatasetConfig, Problem, Sample
from datasets.fingerprints import dataset_fingerprint
from datasets.inspection import as_problem, first_names, sampled_problems
from datasets.label_file import LabelFile, read_class_file, read_label_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
OTHER_SUFFIXES = (".bmp", ".tif", ".tiff", ".gif")
"""Images that the decoder does not read: found, to say so."""


@dataclass(frozen=True)
class FolderConfig(DatasetConfig):
    """Your own data.

    root:    folder with the images, the label file and perhaps masks
    labels:  CSV under root (``index.csv`` is found too). Columns: `id` (or image, file, filename), `labels`
             (or image_labels, classes, class), perhaps `split` (or suggested_split) with train or val. An id
             is a path under `images`, with or without its ending. Several labels are separated by ``;``,
             ``,``, ``|`` or, unless the cell is one class name, spaces
    classes: a file under root (a name a line, perhaps numbered, perhaps ``background`` first), or names
             separated by commas. Empty: ``classes.txt`` where it exists, else all names of the CSV, sorted
    images:  folder of images under root (JPEG, PNG, WebP)
    masks:   folder of masks under root, ``<id>.png``, optional: 0 background, i the i-th class, 255 ignored
    val_fraction: without a split column, the share of images that becomes val, in (0, 1); by hash of the id
    seed:    of that draw
    allow_empty: keep images without a label (nothing but background) instead of refusing them
    """

    name: str = "folder"
    labels: str = "labels.csv"
    classes: str = ""
    images: str = "images"
    masks: str = "masks"
    val_fraction: float = 0.2
    seed: int = 0
    allow_empty: bool = False


class Folder(Dataset):
    """Your own images. Without masks there are labels, weights and panels, and scores say "no masks"."""

    name = "folder"
    summary = "your own: images/, labels.csv (id, labels), optional masks/ and classes.txt"
    needs = "dataset.root=PATH of a folder with images/ and labels.csv"
    config = FolderConfig

    def __init__(self, config: FolderConfig) -> None:
        self.settings = config

    @cached_property
    def root(self) -> Path:
        if self.settings.root is None:
            raise DataError(f"folder needs a folder; set {self.needs}")
        root = Path(self.settings.root).expanduser()
        if not root.is_dir():
            raise DataError(f"folder: no folder {root}; set {self.needs}")
        return root

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._labels.classes

    def prepare(self) -> None:
        """Read the label file and find every image. Raises DataError."""
        for split, ids in self._splits.items():
            if not ids:
                file, column = self._labels.path, self._labels.split_column
                if column:
                    raise DataError(f"{file}: no image is in {split}; correct column {column}")
                raise DataError(
                    f"{file}: val_fraction={self.settings.val_fraction} puts none of {len(self._samples)}"
                    f" images in {split}; change dataset.val_fraction or add a split column"
                )

    def ids(self, split: str) -> tuple[str, ...]:
        return self._splits[split]

    def sample(self, sample_id: str) -> Sample:
        return self._samples[sample_id]

    def mask_path(self, sample_id: str) -> Path | None:
        return self._masks.get(sample_id)

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return dataset_fingerprint(self, part, split)

    def problems(self) -> Sequence[Problem]:
        """The label file's first fault, masks missing for some images, and what a sample of images shows."""
        try:
            self.prepare()
        except DataError as error:
            return [as_problem(error)]
        found = []
        for split, ids in self._splits.items():
            missing = [i for i in ids if i not in self._masks]
            if missing and (self.root / self.settings.masks).is_dir():
                what = f"{len(missing)} of {len(ids)} {split} images have no mask ({first_names(missing)})"
                remedy = f"add them under {self.root / self.settings.masks}, named <id>.png"
                found.append(Problem(f"folder: {what}", remedy))
        return found + sampled_problems(self)

    def notes(self) -> list[str]:
        """What was found, for `doctor`: counts, the label file, where classes and split come from."""
        column = self._labels.split_column
        split = f"column {column}" if column else f"hash of the id, val_fraction {self.settings.val_fraction}"
        lines = [
            f"train: {len(self.ids('train'))} images, val: {len(self.ids('val'))} images, by {split}",
            f"labels: {self._labels.path.name}",
            f"{len(self.classes)} classes: {', '.join(self.classes)}",
            f"{len(self._masks)} masks" if self._masks else "no masks: nothing is scored",
        ]
        if self._labels.left_out:
            lines.append(f"{self._labels.left_out} images of a split named test are left out")
        return lines

    @cached_property
    def _labels(self) -> LabelFile:
        file = self.root / self.settings.labels
        if not file.is_file() and self.settings.labels == FolderConfig.labels:
            file = self.root / "index.csv"
        if not file.is_file():
            raise DataError(
                f"folder: no {self.settings.labels} in {self.root}; add a CSV with columns id and labels,"
                " or set dataset.labels"
            )
        return read_label_file(file, self._declared_classes(), self.settings.allow_empty)

    def _declared_classes(self) -> tuple[str, ...] | None:
        """Class names as given, or None to take them from the label file."""
        given = self.settings.classes
        if not given:
            file = self.root / "classes.txt"
            return read_class_file(file) if file.is_file() else None
        if (self.root / given).is_file():
            return read_class_file(self.root / given)
        if given.endswith(".txt"):
            raise DataError(f"folder: no class file {self.root / given}; correct dataset.classes")
        return tuple(name.strip() for name in given.split(",") if name.strip())

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        """By id, which is the image's path under `images` without its ending."""
        folder = self.root / self.settings.images
        if not folder.is_dir():
            raise DataError(f"folder: no image folder {folder}; create it or set dataset.images")
        by_path, by_stem = _index_images(folder)
        samples: dict[str, Sample] = {}
        first_row: dict[str, int] = {}
        for row in self._labels.rows:
            where = f"{self._labels.path} row {row.number}"
            name = row.id.removeprefix(f"{self.settings.images}/") if row.id not in by_path else row.id
            candidates = [name] if name in by_path else by_stem.get(name, [])
            if not candidates:
                raise DataError(f"{where}: no image {row.id!r} in {folder}; add the image or remove the row")
            if len(candidates) > 1:
                raise DataError(f"{where}: id {row.id!r} fits {first_names(candidates)}; give the ending too")
            path = by_path[candidates[0]]
            if path.suffix.lower() in OTHER_SUFFIXES:
                raise DataError(f"{where}: {path.name} is neither JPEG, PNG nor WebP; convert it to PNG")
            sample_id = candidates[0][: -len(path.suffix)]
            if sample_id in samples:
                raise DataError(
                    f"{where}: id {row.id!r} repeats row {first_row[sample_id]}; remove one of them"
                )
            first_row[sample_id] = row.number
            samples[sample_id] = Sample(sample_id, path, row.labels)
        return samples

    @cached_property
    def _splits(self) -> dict[str, tuple[str, ...]]:
        """Rows and samples run in the same order."""
        splits: dict[str, list[str]] = {"train": [], "val": []}
        for row, sample_id in zip(self._labels.rows, self._samples, strict=True):
            splits[row.split or self._drawn_split(sample_id)].append(sample_id)
        return {split: tuple(ids) for split, ids in splits.items()}

    def _drawn_split(self, sample_id: str) -> str:
        """By hash, so that adding images moves none of those already there."""
        digest = hashlib.sha256(f"{self.settings.seed}/{sample_id}".encode()).digest()
        return "val" if int.from_bytes(digest[:8], "big") < self.settings.val_fraction * 2**64 else "train"

    @cached_property
    def _masks(self) -> dict[str, Path]:
        folder = self.root / self.settings.masks
        if not folder.is_dir():
            return {}
        found = {p.relative_to(folder).with_suffix("").as_posix(): p for p in folder.rglob("*.png")}
        return {i: found[i] for i in self._samples if i in found}


def _index_images(folder: Path) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """Images by relative path, and relative paths by relative path without the ending."""
    by_path = {
        p.relative_to(folder).as_posix(): p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in IMAGE_SUFFIXES + OTHER_SUFFIXES
    }
    by_stem: dict[str, list[str]] = {}
    for name, path in by_path.items():
        by_stem.setdefault(name[: -len(path.suffix)], []).append(name)
    return by_path, by_stem


DATASET = Folder
