"""`shapes`: the data set that the project draws itself, the default at the nano scale."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from platformdirs import user_cache_path

from datasets import drawing, shapes_objects, shapes_scene
from datasets.base import ContextClass, DataError, Dataset, DatasetConfig, Fingerprint, Problem, Sample
from datasets.shapes_scene import BOAT, NAMES, RAILS, TRAIN, WATER, Picture, render

SPLITS = ("train", "val")

FROZEN = {
    "images/train": "61c192663f067354d73ee3dc952b9529036d5b969b90072d32e6a6a23f47072e",
    "masks/train": "8d97d16e8159d6883d981f3cb5c7ee4363ba1a50446558e41e63237a2e1f2f9c",
    "images/val": "cc283a2138ca80117d2b141a845649a35ac7fb34b6942bdd4a559ec2871c0643",
    "masks/val": "395843fca4a198d48d96fc87b0771e4835c5ba070067ea406be129e445f576f5",
}
"""Fingerprints of the default data set. Results are comparable only while these hold."""

_MARKER = "finished.json"


@dataclass(frozen=True)
class ShapesConfig(DatasetConfig):
    """Settings of `shapes`.

    `root`: folder under which the pictures are kept (default: the user's cache folder). `train`, `val`:
    numbers of pictures; a smaller set is the beginning of a larger one. `seed` >= 0 draws another set.
    """

    name: str = "shapes"
    train: int = 768
    val: int = 256
    seed: int = 0


class Shapes(Dataset):
    name = "shapes"
    summary = (
        "generated pictures of ten object classes, two with co-occurring contexts; default of scale nano"
    )
    needs = "nothing: drawn on first use (a few seconds, 20 MB)"
    config = ShapesConfig
    generated = True

    classes = NAMES
    contexts = (ContextClass("rails", TRAIN, RAILS), ContextClass("water", BOAT, WATER))

    def __init__(self, config: ShapesConfig) -> None:
        if min(config.train, config.val) < 1 or config.seed < 0:
            raise DataError(
                f"shapes: train={config.train}, val={config.val}, seed={config.seed}: "
                "train and val must be at least 1 and seed at least 0"
            )
        self._config = config
        parent = Path(config.root).expanduser() if config.root else user_cache_path("wsss-benchmark")
        self.folder = parent / f"shapes-{_settings_key(config)[:16]}"

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
                f"shapes: cannot write to {self.folder.parent} ({error.strerror or error}); "
                "free some space or set dataset.root to a folder that can be written"
            ) from error

    def ids(self, split: str) -> tuple[str, ...]:
        if split not in SPLITS:
            raise DataError(f"shapes has no split '{split}'; it has {' and '.join(SPLITS)}")
        return _ids(split, getattr(self._config, split))

    def sample(self, sample_id: str) -> Sample:
        labels = self._finished["labels"].get(sample_id)
        if labels is None:
            raise DataError(f"shapes has no sample '{sample_id}'; ids look like train_0000 and val_0000")
        return Sample(sample_id, self._path("images", sample_id), tuple(labels))

    def mask_path(self, sample_id: str) -> Path:
        return self._path("masks", sample_id)

    def context_path(self, sample_id: str) -> Path:
        return self._path("contexts", sample_id)

    def fingerprint(self, part: Literal["images", "masks"], split: str) -> str:
        return str(self._finished["fingerprints"][f"{part}/{split}"])

    def problems(self) -> Sequence[Problem]:
        again = f"remove {self.folder}; it is drawn again on the next run"
        try:
            self.prepare()
            drawn = {k: v for split in SPLITS for k, v in self._fingerprints_on_disk(split).items()}
        except DataError as error:
            return [Problem(str(error), "set dataset.root to a folder that can be written")]
        except (OSError, ValueError) as error:
            return [Problem(f"shapes: a file in {self.folder} is missing or damaged ({error})", again)]
        problems = []
        if drawn != self._finished["fingerprints"]:
            problems.append(Problem(f"shapes: files in {self.folder} are not those that were drawn", again))
        default = asdict(self._config) | {"root": None} == asdict(ShapesConfig())
        if default and self._finished["fingerprints"] != FROZEN:
            problems.append(
                Problem(
                    "shapes: this machine draws other pictures than the published ones",
                    "compare results only with runs of the same fingerprint, or try another numpy release",
                )
            )
        return problems

    # ------------------------------------------------------------ files

    def _path(self, part: str, sample_id: str) -> Path:
        return self.folder / part / f"{sample_id}.png"

    @cached_property
    def _finished(self) -> dict[str, Any]:
        """The marker's content: labels of every sample and fingerprints of every part."""
        self.prepare()
        content: dict[str, Any] = json.loads((self.folder / _MARKER).read_text())
        return content

    def _generate(self) -> None:
        for stale in self.folder.parent.glob(f"{self.folder.name}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.tmp-", dir=self.folder.parent))
        try:
            for part in ("images", "masks", "contexts"):
                (aside / part).mkdir()
            labels: dict[str, tuple[int, ...]] = {}
            fingerprints: dict[str, str] = {}
            for split in SPLITS:
                hashes = _SplitHashes()
                for sample_id, picture in _pictures(self._config, split):
                    labels[sample_id] = picture.labels
                    hashes.add(sample_id, picture)
                    _save(aside / "images" / f"{sample_id}.png", picture.image)
                    _save(aside / "masks" / f"{sample_id}.png", picture.mask)
                    _save(aside / "contexts" / f"{sample_id}.png", picture.context)
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

    def _fingerprints_on_disk(self, split: str) -> dict[str, str]:
        hashes = _SplitHashes()
        for sample_id in self.ids(split):
            maps = [_load(self._path(part, sample_id)) for part in ("images", "masks", "contexts")]
            hashes.add(sample_id, Picture(*maps))
        return hashes.result(split)


def draw(seed: int, split: str, index: int) -> Picture:
    """Picture `index` of a split, as it is written to disk."""
    return render(seed, SPLITS.index(split), index)


def fingerprints(config: ShapesConfig, split: str) -> dict[str, str]:
    """``{"images/<split>": ..., "masks/<split>": ...}`` of a data set, drawn afresh, without its files."""
    hashes = _SplitHashes()
    for sample_id, picture in _pictures(config, split):
        hashes.add(sample_id, picture)
    return hashes.result(split)


def _pictures(config: ShapesConfig, split: str) -> Iterator[tuple[str, Picture]]:
    """A split's pictures in order; threads draw ahead, which changes nothing but the time."""
    ids = _ids(split, getattr(config, split))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        yield from zip(ids, threads.map(lambda i: draw(config.seed, split, i), range(len(ids))))


class _SplitHashes:
    """Fingerprints of decoded content, so that they do not depend on how PNG files are compressed."""

    def __init__(self) -> None:
        self._images, self._masks = Fingerprint(), Fingerprint()

    def add(self, sample_id: str, picture: Picture) -> None:
        height, width = picture.mask.shape
        name = f"{sample_id} {height} {width}"
        self._images.add(name, str(picture.labels), picture.image.tobytes())
        self._masks.add(name, picture.mask.tobytes(), picture.context.tobytes())

    def result(self, split: str) -> dict[str, str]:
        return {f"images/{split}": self._images.hexdigest(), f"masks/{split}": self._masks.hexdigest()}


def _ids(split: str, count: int) -> tuple[str, ...]:
    return tuple(f"{split}_{index:04d}" for index in range(count))


def _settings_key(config: ShapesConfig) -> str:
    """Hash of the settings and of the drawing code, so that changed code never meets stale pictures."""
    key = Fingerprint().add(json.dumps([config.train, config.val, config.seed]))
    for module in (drawing, shapes_objects, shapes_scene):
        key.add(hashlib.sha256(Path(str(module.__file__)).read_bytes()).digest())
    return key.hexdigest()


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)


def _load(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


DATASET = Shapes
