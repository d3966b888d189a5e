"""What a bundle holds, and how one is opened: as a file that a stranger made.

A bundle is a zip with
    bundle.json                  format, code version, data set (classes, ids, hashes), SHA-256 of each member
    submission.yaml              the form (`benchmark.bundles.form`)
    records.parquet, runs.json   of the run folder, without pictures and without paths of the machine
    counts/<key>.parquet         per-image confusion counts of every scored artifact
    maps/<key>/<n>.png           label maps of val; n: position of the image in the split's list
    cams/<key>.safetensors       maps of `CAM_SAMPLE` images, drawn by a hash of everything above

No member's name becomes a path, no picture is decoded that is larger than `MOST_PIXELS`, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.numpy import load

from benchmark.bundles.form import SubmissionForm, read_form
from benchmark.evaluation.counts import Counts
from datasets.base import IGNORE, DataError
from methods.artifacts import Cam
from results.io import check_types
from results.schema import COLUMNS, SCHEMA_VERSION

FORMAT = 1
MANIFEST, FORM, RECORDS, RUNS = "bundle.json", "submission.yaml", "records.parquet", "runs.json"
MEMBER = re.compile(
    r"bundle\.json|submission\.yaml|records\.parquet|runs\.json|counts/[0-9a-f]{24}\.parquet"
    r"|maps/[0-9a-f]{24}/\d{1,6}\.png|cams/[0-9a-f]{24}\.safetensors"
)
"""Names that members may have."""
LARGEST = 200 * 10**6
"""Bytes of a bundle."""
LARGEST_MEMBER = 500 * 10**6
"""Bytes that a member unpacks to."""
MOST_TIMES = 200
"""A bundle unpacks to at most so many times its size."""
MOST_MEMBERS = 2_000_000
MOST_PIXELS = 10**8
CAM_SAMPLE = 16
"""Images whose CAMs are in a bundle, of each artifact."""


class Bundle:
    """An opened bundle: its members are of known names, sizes and hashes. Raises DataError for anything else.

    manifest: `bundle.json`; form; records (columns `results.schema.COLUMNS`); runs: `RunRecord`s as plain data
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = _opened(path)
        self._sizes = self._members()
        self.manifest: dict[str, Any] = self._manifest()
        self.form: SubmissionForm = read_form(self._text(FORM), f"{path}: {FORM}")
        self.runs: list[dict[str, Any]] = self._runs()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    @cached_property
    def records(self) -> pd.DataFrame:
        try:
            frame = pd.read_parquet(io.BytesIO(self.read(RECORDS)))
            frame = frame[list(COLUMNS)]
        except (ValueError, KeyError, OSError) as error:
            raise DataError(
                f"{self.path}: {RECORDS} is damaged ({str(error).partition(chr(10))[0]:.120})"
            ) from None
        if set(frame["schema_version"]) - {SCHEMA_VERSION}:
            raise DataError(f"{self.path}: {RECORDS} is of another version than {SCHEMA_VERSION}")
        return frame

    def ids(self, split: str) -> list[str]:
        """Image ids of a split, in the data set's order; none of a split that nothing was scored on."""
        return list(self.manifest["dataset"]["splits"].get(split, {}).get("ids", []))

    def keys(self, folder: str) -> list[str]:
        """Keys of the artifacts that have a member in a folder: counts, maps, cams."""
        found = (name.split("/") for name in self._sizes if name.startswith(f"{folder}/"))
        return sorted({parts[1].partition(".")[0] for parts in found})

    def counts(self, key: str) -> Counts:
        """Per-image counts of a scored artifact, whose ids are in range."""
        name = f"counts/{key}.parquet"
        try:
            counts = Counts.read(io.BytesIO(self.read(name)))
            naming, thresholds = counts.header.naming, counts.header.thresholds
            objects = len(naming.classes)
            sound = (
                (counts.gt <= objects + len(naming.contexts)).all()
                and ((counts.pred <= objects) | (counts.pred == IGNORE)).all()
                and (counts.count >= 0).all()
                and ((counts.image >= 0) & (counts.image < len(counts.images))).all()
                and (counts.bin is None) == (thresholds is None)
                and (counts.bin is None or (counts.bin <= len(thresholds or ())).all())
            )
        except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
            raise DataError(f"{self.path}: {name} is damaged ({type(error).__name__})") from None
        if not sound:
            raise DataError(f"{self.path}: {name} holds classes or counts that cannot be")
        return counts

    def label_map(self, key: str, number: int) -> np.ndarray | None:
        """Class ids (H, W) uint8 of image `number` of val; None where the bundle has none."""
        name = f"maps/{key}/{number}.png"
        if name not in self._sizes:
            return None
        try:
            with Image.open(io.BytesIO(self.read(name)), formats=("PNG",)) as image:
                if image.width * image.height > MOST_PIXELS or image.mode not in ("L", "P"):
                    raise DataError(f"{self.path}: {name} is no label map")
                return np.array(image)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, zlib.error) as error:
            raise DataError(f"{self.path}: {name} is damaged ({type(error).__name__})") from None

    def cams(self, key: str) -> dict[str, Cam]:
        """The sampled CAMs of an artifact by image id."""
        name = f"cams/{key}.safetensors"
        try:
            data = self.read(name)
            tensors = load(data)
            length = int.from_bytes(data[:8], "little")
            index = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["index"])
            cams = {
                i: Cam(
                    tensors[i], tuple(map(int, each["classes"])), (int(each["size"][0]), int(each["size"][1]))
                )
                for i, each in index.items()
            }
            objects = len(self.manifest["dataset"]["classes"])
            if not all(_is_sound(cam, objects) for cam in cams.values()):
                raise ValueError("no CAM")
            return cams
        except (SafetensorError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise DataError(f"{self.path}: {name} is damaged ({type(error).__name__})") from None

    def read(self, name: str) -> bytes:
        """A member's content, which has the hash that the manifest says."""
        try:
            data = self._zip.read(name)
        except (
            KeyError,
            OSError,
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
        ):
            raise DataError(f"{self.path}: {name} is missing or damaged") from None
        if name != MANIFEST and hashlib.sha256(data).hexdigest() != self.manifest["files"].get(name):
            raise DataError(f"{self.path}: {name} is not what {MANIFEST} says (its SHA-256 differs)")
        return data

    def digest(self) -> str:
        """SHA-256 of everything but the sampled CAMs: what the sample is drawn by."""
        return content_digest(self.manifest["files"])

    def _members(self) -> dict[str, int]:
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        names = [info.filename for info in infos]
        if unknown := [name for name in names if not MEMBER.fullmatch(name)]:
            raise DataError(f"{self.path}: holds {unknown[0]!r:.80}, which no bundle has")
        if len(names) > MOST_MEMBERS or len(set(names)) < len(names):
            raise DataError(f"{self.path}: holds too many files, or one twice")
        sizes = {info.filename: info.file_size for info in infos}
        whole = self.path.stat().st_size
        if max(sizes.values(), default=0) > LARGEST_MEMBER or sum(sizes.values()) > max(
            10**8, MOST_TIMES * whole
        ):
            raise DataError(
                f"{self.path}: unpacks to more than a bundle may, as files do that are made to fill disks"
            )
        if missing := [name for name in (MANIFEST, FORM, RECORDS, RUNS) if name not in sizes]:
            raise DataError(f"{self.path}: no bundle ({missing[0]} is missing); `bundle RUN` writes one")
        return sizes

    def _manifest(self) -> dict[str, Any]:
        document = self._json(MANIFEST)
        try:
            if document["format"] != FORMAT:
                raise DataError(
                    f"{self.path}: of format {document['format']!r:.20}, this version reads {FORMAT}; update it"
                )
            files, dataset = document["files"], document["dataset"]
            plain = (
                all(isinstance(v, str) for v in files.values())
                and isinstance(dataset["name"], str)
                and all(isinstance(name, str) for name in dataset["classes"])
                and all(isinstance(i, str) for split in dataset["splits"].values() for i in split["ids"])
            )
        except (KeyError, TypeError, AttributeError):
            plain = False
        if not plain:
            raise DataError(f"{self.path}: {MANIFEST} is not as a bundle has it")
        listed, held = set(files), set(self._sizes) - {MANIFEST}
        if listed != held:
            odd = min(listed ^ held)
            raise DataError(
                f"{self.path}: {odd} is {'listed and missing' if odd in listed else 'not listed'}"
            )
        return document

    def _runs(self) -> list[dict[str, Any]]:
        runs = self._json(RUNS).get("runs")
        try:
            check_types(runs)
            for stage in (stage for run in runs for stage in run["stages"] if stage.get("score")):  # type: ignore
                texts = [stage["key"], *(stage["score"][part] for part in ("name", "key", "stage", "split"))]
                if not all(isinstance(text, str) for text in texts):
                    raise ValueError(f"a score is {stage['score']!r:.60}")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: {RUNS} is not as a bundle has it ({error!s:.100})") from None
        return list(runs)  # type: ignore[arg-type]

    def _text(self, name: str) -> str:
        try:
            return self.read(name).decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{self.path}: {name} is no text") from None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads(self._text(name))
        except (ValueError, RecursionError):
            raise DataError(f"{self.path}: {name} is no JSON") from None
        if not isinstance(document, dict):
            raise DataError(f"{self.path}: {name} is no JSON object")
        return document


def _is_sound(cam: Cam, objects: int) -> bool:
    height, width = cam.size
    return (
        cam.maps.ndim == 3
        and len(cam.maps) == len(cam.classes)
        and all(0 <= c < objects for c in cam.classes)
        and 0 < height * width <= MOST_PIXELS
        and min(height, width) > 0
        and bool(((cam.maps >= 0) & (cam.maps <= 1)).all())
    )


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path}: larger than {LARGEST // 10**6} MB, which no bundle is")
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: no bundle ({error}); `bundle RUN` writes one") from None


def content_digest(files: Mapping[str, str]) -> str:
    """SHA-256 over names and hashes of the members that are there before CAMs are drawn."""
    lines = (f"{name} {sha}\n" for name, sha in sorted(files.items()) if not name.startswith("cams/"))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sampled(ids: Iterable[str], digest: str) -> list[str]:
    """The images whose CAMs a bundle holds: those of the smallest hashes with the digest of its other content."""
    return sorted(ids, key=lambda i: hashlib.sha256(f"{digest}{i}".encode()).digest())[:CAM_SAMPLE]


def scored_stages(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scored stages of all runs by the key of their artifact, each once."""
    return {stage["key"]: stage for run in runs for stage in run["stages"] if stage.get("score")}
