"""Data sets that the project draws itself: kept in a folder, drawn once, safe under concurrent runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from platformdirs import user_cache_path

from datasets.base import DataError, Dataset, DatasetConfig, Fingerprint, Problem, Sample
from datasets.files.cores import usable_cores
from datasets.files.inspection import as_problem
from datasets.files.listing import text_of
from datasets.files.places import expanded
from datasets.limits import Within, first_fault

Pictures = Annotated[int, Within(1, 1_000_000)]
"""Of a split: a million take hours to draw."""
SPLITS = ("train", "val")
IMAGES, MASKS = "images", "masks"

_MARKER = "finished.json"
_NOT_DRAWN = {"root": None, "subset": 0}
"""Settings that decide nothing about the pictures, and their defaults."""


class Drawn(NamedTuple):
    """A picture as it is kept. `maps`: folder -> uint8 pixels; "images" (H, W, 3), "masks" and others (H, W).

    labels: object classes (from 0) that are visible
    """

    labels: tuple[int, ...]
    maps: Mapping[str, NDArray[np.uint8]]


class GeneratedDataset(Dataset):
    """A data set that is drawn on first use. A subclass says which pictures there are and draws one.

    Pictures must depend on the settings and the modules of `drawn_by` only: the folder's name is their hash, so
    that changed code never meets stale pictures.
    """

    generated = True
    parts: ClassVar[tuple[str, ...]] = (IMAGES, MASKS)
    """Folders of what a picture consists of."""
    drawn_by: ClassVar[tuple[ModuleType, ...]]
    frozen: ClassVar[Mapping[str, str]]
    """Published fingerprints of the default set, ``images/train`` and so on."""

    def __init__(self, config: DatasetConfig) -> None:
        """config: frozen settings; those besides `name` and `root` decide what is drawn. DataError for bad ones"""
        if fault := first_fault(config, "dataset"):
            raise DataError(fault)
        self.settings = config
        parent = expanded(config.root) if config.root else user_cache_path("wsss-benchmark")
        self.folder = parent / f"{self.name}-{self._settings_key()[:16]}"

    @abstractmethod
    def drawing_order(self, split: str) -> tuple[str, ...]:
        """Ids of a split's pictures."""

    @abstractmethod
    def draw(self, split: str, position: int) -> Drawn:
        """The picture at a position of `drawing_order`; called from several threads."""

    # ------------------------------------------------------------ Dataset

    def prepare(self) -> None:
        """Draws the pictures once; concurrent and interrupted runs leave either nothing or the whole set."""
        if (self.folder / _MARKER).exists():
            return
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.folder}.lock"):
                if not (self.folder / _MARKER).exists():
                    self._generate()
        except OSError as error:
            raise DataError(
                f"{self.name}: cannot write to {self.folder.parent} ({error.strerror or error}); "
                "free some space or set dataset.root to a folder that can be written"
            ) from error

    def ids(self, split: str) -> tuple[str, ...]:
        if split not in SPLITS:
            raise DataError(f"{self.name} has no split '{split}'; it has {' and '.join(SPLITS)}")
        return self.drawing_order(split)

    def sample(self, sample_id: str) -> Sample:
        labels = self._finished["labels"].get(sample_id)
        if labels is None:
            examples = " and ".join(self.drawing_order(split)[0] for split in SPLITS)
            raise DataError(f"{self.name} has no sample '{sample_id}'; ids look like {examples}")
        return Sample(sample_id, self.path(IMAGES, sample_id), tuple(labels))

    def mask_path(self, sample_id: str) -> Path:
        return self.path(MASKS, sample_id)

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return str(self._finished["fingerprints"][f"{part}/{split}"])

    def problems(self) -> Sequence[Problem]:
        again = f"remove {self.folder}; it is drawn again on the next run"
        try:
            self.prepare()
            _ = self._finished
            drawn = {k: v for split in SPLITS for k, v in self._fingerprints_on_disk(split).items()}
        except DataError as error:
            return [as_problem(error)]
        except (OSError, ValueError) as error:
            what = f"{self.name}: a file in {self.folder} is missing or damaged ({error})"
            return [Problem(what, again)]
        problems = []
        if drawn != self._finished["fingerprints"]:
            what = f"{self.name}: files in {self.folder} are not those that were drawn"
            problems.append(Problem(what, again))
        default = asdict(self.settings) | _NOT_DRAWN == asdict(self.config())
        if default and self._finished["fingerprints"] != self.frozen:
            problems.append(
                Problem(
                    f"{self.name}: this machine draws other pictures than the published ones",
                    "compare results only with runs of the same fingerprint, or try another numpy release",
                )
            )
        return problems

    # ------------------------------------------------------------ files

    def path(self, part: str, sample_id: str) -> Path:
        return self.folder / part / f"{sample_id}.png"

    def fingerprints_drawn(self, split: str) -> dict[str, str]:
        """``{"images/<split>": ..., "masks/<split>": ...}`` of the set, drawn afresh, without its files."""
        hashes = _SplitHashes()
        for sample_id, picture in self._pictures(split):
            hashes.add(sample_id, picture)
        return hashes.result(split)

    @cached_property
    def _finished(self) -> dict[str, Any]:
        """The marker's content: labels of every sample and fingerprints of every part."""
        self.prepare()
        try:
            content = json.loads(text_of(self.folder / _MARKER))
            if all(isinstance(content[part], dict) for part in ("labels", "fingerprints")):
                return dict(content)
        except (DataError, OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        raise DataError(
            f"{self.name}: {self.folder / _MARKER} is damaged; remove {self.folder}; it is drawn again on the next run"
        )

    def _generate(self) -> None:
        for stale in self.folder.parent.glob(f"{self.folder.name}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.tmp-", dir=self.folder.parent))
        try:
            for part in self.parts:
                (aside / part).mkdir()
            labels: dict[str, tuple[int, ...]] = {}
            fingerprints: dict[str, str] = {}
            for split in SPLITS:
                hashes = _SplitHashes()
                for sample_id, picture in self._pictures(split):
                    labels[sample_id] = picture.labels
                    hashes.add(sample_id, picture)
                    for part in self.parts:
                        save_pixels(aside / part / f"{sample_id}.png", picture.maps[part])
                fingerprints |= hashes.result(split)
            content = {"labels": labels, "fingerprints": fingerprints}
            (aside / _MARKER).write_text(json.dumps(content))
            if self.folder.exists():
                shutil.rmtree(self.folder)
            aside.chmod(0o755)
            aside.replace(self.folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _pictures(self, split: str) -> Iterator[tuple[str, Drawn]]:
        """A split's pictures in order; threads draw ahead, which changes nothing but the time."""
        ids = self.drawing_order(split)
        with ThreadPoolExecutor(min(4, usable_cores())) as threads:
            yield from zip(ids, threads.map(lambda i: self.draw(split, i), range(len(ids))))

    def _fingerprints_on_disk(self, split: str) -> dict[str, str]:
        hashes = _SplitHashes()
        for sample_id in self.drawing_order(split):
            maps = {part: load_pixels(self.path(part, sample_id)) for part in self.parts}
            hashes.add(sample_id, Drawn(self.sample(sample_id).labels, maps))
        return hashes.result(split)

    def _settings_key(self) -> str:
        settings = asdict(self.settings)
        drawn = [value for name, value in settings.items() if name != "name" and name not in _NOT_DRAWN]
        key = Fingerprint().add(json.dumps(drawn))
        for module in self.drawn_by:
            key.add(hashlib.sha256(Path(str(module.__file__)).read_bytes()).digest())
        return key.hexdigest()


class _SplitHashes:
    """Fingerprints of decoded content, so that they do not depend on how PNG files are compressed."""

    def __init__(self) -> None:
        self._images, self._masks = Fingerprint(), Fingerprint()

    def add(self, sample_id: str, picture: Drawn) -> None:
        height, width = picture.maps[MASKS].shape
        name = f"{sample_id} {height} {width}"
        self._images.add(name, str(picture.labels), picture.maps[IMAGES].tobytes())
        self._masks.add(name, *(pixels.tobytes() for part, pixels in picture.maps.items() if part != IMAGES))

    def result(self, split: str) -> dict[str, str]:
        return {f"images/{split}": self._images.hexdigest(), f"masks/{split}": self._masks.hexdigest()}


def save_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)


def load_pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)
