"""What a data set is: images, image-level labels, split lists, class names and a content fingerprint.

Importing this module costs nothing (no torch), so that planning a run stays quick.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from datasets.limits import Natural

IGNORE = 255
MOST_CLASSES = IGNORE - 1
"""Object classes that label maps of 8 bits tell apart, beside the background and what is ignored."""
"""Mask value of pixels that are not scored (VOC's void)."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class DataError(Exception):
    """Bad data or a bad data root; the message is one line that says what, where and what to do.

    Control characters in it, which names of files may have, are written as escapes.
    """

    def __str__(self) -> str:
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], super().__str__())


@dataclass(frozen=True)
class Sample:
    """One image with its image-level labels. `labels` are object-class indices from 0 (no background)."""

    id: str
    image: Path
    labels: tuple[int, ...]


@dataclass(frozen=True)
class DenseMap:
    """Dense maps that accompany images: saliency, pseudo-labels, or true masks for mask-supervised entries.

    `path_of` maps a sample id to an 8-bit single-channel image file of the same size as the sample's image.
    `kind` decides the resampling: ``"continuous"`` (bilinear, scaled to 0..1) or ``"labels"`` (nearest,
    integer class ids, 255 where ignored; pixels outside the image become 255).
    """

    path_of: Callable[[str], Path]
    kind: Literal["continuous", "labels"]


@dataclass(frozen=True)
class ContextClass:
    """A background region that co-occurs with an object class (rails under trains) and can be confused with it.

    `object_class` is the index of the object class (from 0); `value` is its pixel value in context maps (>= 1).
    """

    name: str
    object_class: int
    value: int


@dataclass(frozen=True)
class TrainingView:
    """The part of a data set that a method is handed: no masks, and no way back to the data set that has them.

    generated: whether the project draws the data itself, which is all that the miniature networks have to cover
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    background: str = "background"
    generated: bool = False

    def samples(self, split: str) -> tuple[Sample, ...]:
        return self.splits[split]

    def examples(self, count: int = 8) -> tuple[Sample, ...]:
        """Training images shown in reports, evenly spaced over the list; every method shows the same."""
        train = self.splits["train"]
        return tuple(train[i * len(train) // count] for i in range(min(count, len(train))))


@dataclass(frozen=True)
class Conversion:
    """What a data set does to its images before methods see them; other images for its networks need the same.

    longest_side: to which larger images are reduced, pixels, 0 for never
    bits: significant bits of 16-bit images, 0: 16 unless they are too dark for that, which is an error
    """

    longest_side: int = 0
    bits: int = 16


@dataclass(frozen=True)
class Problem:
    """One finding of `Dataset.problems`: what is wrong, where, and the remedy.

    broken: False for what is fine to run with but worth knowing, such as a subset of the official images
    """

    what: str
    remedy: str
    broken: bool = True


@dataclass(frozen=True)
class DatasetConfig:
    """Base of every data set's typed settings; `name` selects the implementation.

    subset: images a split, of every class if there is room, then by the classes' shares (`datasets.subset`); 0: all
    """

    name: str = "???"
    root: str | None = None
    subset: Natural = 0


class Dataset(ABC):
    """A data set. Implementations are registered with `datasets.register`.

    Masks: 8-bit PNG, 0 = background, i + 1 = object class i, 255 = ignored.
    Splits: ``train`` (image labels, CAM and pseudo-labels are made and scored here) and ``val`` (segmentation).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[str]
    config: ClassVar[type[DatasetConfig]]
    generated: ClassVar[bool] = False
    """Whether the project makes the data itself, so that no root need be given."""

    classes: tuple[str, ...]
    contexts: tuple[ContextClass, ...] = ()

    @property
    def has_good_parts(self) -> bool:
        """Whether its images show parts, some of them good, so that verdicts on them and single defects are scored."""
        return False

    @abstractmethod
    def prepare(self) -> None:
        """Make or check what is on disk; cheap when there is nothing to do. Raises DataError."""

    @abstractmethod
    def ids(self, split: str) -> tuple[str, ...]:
        """Sample ids of a split, in the order of its list."""

    @abstractmethod
    def sample(self, sample_id: str) -> Sample: ...

    @abstractmethod
    def mask_path(self, sample_id: str) -> Path | None:
        """Path of the true mask, or None where the data set has none for this image."""

    def conversion(self) -> Conversion:
        """What its images went through, for `predict`; by default nothing. Raises DataError."""
        return Conversion()

    def context_path(self, sample_id: str) -> Path | None:
        """Path of the context map (0 = none, ContextClass.value elsewhere), or None."""
        return None

    @abstractmethod
    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        """Hash of the content: of image bytes, ids and labels, or of the masks and context maps.

        Independent of the root's path. Must be quick when nothing changed (cache by path, size and mtime).
        """

    @abstractmethod
    def problems(self) -> Sequence[Problem]:
        """Everything found wrong, for `doctor`; empty when all is well. Must not raise."""

    def notes(self) -> Sequence[str]:
        """What was found, for `doctor`, one line each: lists in use, counts. Raises DataError."""
        counts = {s: len(self.ids(s)) for s in ("train", "val")}
        return [f"{s}: {n} images, {self.masked(s)} with masks" for s, n in counts.items()]

    def masked(self, split: str) -> int:
        """Number of images of a split that have masks; scores are computed on these."""
        return sum(self.mask_path(i) is not None for i in self.ids(split))

    def samples(self, split: str) -> tuple[Sample, ...]:
        return tuple(self.sample(i) for i in self.ids(split))

    def mask_directories(self) -> tuple[Path, ...]:
        """Folders that training must not open a file of: those of the masks and of the context maps."""
        paths = (
            path
            for s in ("train", "val")
            for i in self.ids(s)
            for path in (self.mask_path(i), self.context_path(i))
        )
        return tuple({path.parent for path in paths if path is not None})

    def mask_files(self) -> tuple[Path, ...]:
        """Further files that training must not open, in folders that it may: masks beside images, annotations."""
        return ()

    def training_view(self, splits: Sequence[str] = ("train", "val")) -> TrainingView:
        of = {split: self.samples(split) for split in splits}
        return TrainingView(self.name, self.classes, of, generated=self.generated)


@dataclass
class Fingerprint:
    """Incremental SHA-256 over named parts; order matters."""

    _hash: object = field(default_factory=hashlib.sha256)

    def add(self, *parts: str | bytes) -> Fingerprint:
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            self._hash.update(len(data).to_bytes(8, "little"))  # type: ignore[attr-defined]
            self._hash.update(data)  # type: ignore[attr-defined]
        return self

    def hexdigest(self) -> str:
        return self._hash.hexdigest()  # type: ignore[attr-defined,no-any-return]
