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
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.numpy import load

from benchmark.bundles.form import SubmissionForm, read_form
from benchmark.evaluation.counts import Counts
from datasets.base import IGNORE, DataError
from datasets.files.arrays import BOUNDED
from methods.artifacts import Cam
from results.io import check_types, records_frame
from results.schema import COLUMNS, SCHEMA_VERSION, RunRecord

FORMAT = 1
MANIFEST, FORM, RECORDS, RUNS = "bundle.json", "submission.yaml", "records.parquet", "runs.json"
MEMBER = re.compile(
    r"bundle\.json|submission\.yaml|records\.parquet|runs\.json|counts/[0-9a-f]{24}\.parquet"
    r"|maps/[0-9a-f]{24}/[0-9]{1,6}\.png|cams/[0-9a-f]{24}\.safetensors"
)
"""Names that members may have."""
LARGEST = 200 * 10**6
"""Bytes of a bundle."""
LARGEST_MEMBER = {FORM: 10**5, MANIFEST: 10**8, RUNS: 5 * 10**7, RECORDS: 10**8, "maps": 10**7}
"""Bytes that a member unpacks to, by name or folder; others: `LARGEST`."""
MOST_TIMES = 200
"""A bundle unpacks to at most so many times its size."""
MOST_MEMBERS = 300_000
MOST_PIXELS = 25 * 10**6
MOST_SCORES = 2 * 10**8
"""Classes times pixels of a CAM at the size of its image."""
MOST_ROWS = {RECORDS: 3 * 10**6, "counts": 4 * 10**7}
MOST_UNPACKED = 10**9
"""Bytes of a table in memory, as far as its file says."""
MOST_THRESHOLDS = 200
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
        data = self.read(RECORDS)
        try:
            frame = _records(data)
        except (ValueError, KeyError, TypeError, OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self.path}: {RECORDS} is damaged ({' '.join(str(error).split()):.120})"
            ) from None
        if set(frame["schema_version"]) - {SCHEMA_VERSION}:
            raise DataError(f"{self.path}: {RECORDS} is of another version than {SCHEMA_VERSION}")
        return frame

    def ids(self, split: str) -> list[str]:
        """Image ids of a split, in the data set's order; none of a split that nothing was scored on."""
        return list(self.manifest["dataset"]["splits"].get(split, {}).get("ids", []))

    def keys(self, folder: str) -> list[str]:
        """Keys of the artifacts that have a member in a folder: counts, maps, cams."""
        return self._keys.get(folder, [])

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for folder, _, rest in (name.partition("/") for name in self._sizes):
            found.setdefault(folder, set()).add(rest[:24])
        return {folder: sorted(keys) for folder, keys in found.items()}

    def counts(self, key: str) -> Counts:
        """Per-image counts of a scored artifact, whose ids are in range."""
        name = f"counts/{key}.parquet"
        try:
            data = self.read(name)
            _check_size(pq.ParquetFile(io.BytesIO(data)), MOST_ROWS["counts"])
            counts = Counts.read(io.BytesIO(data))
            naming, thresholds = counts.header.naming, counts.header.thresholds
            objects = len(naming.classes)
            sound = (
                {c.dtype.name for c in (counts.gt, counts.pred)} == {"uint8"}
                and counts.count.dtype == np.int32
                and (counts.bin is None or counts.bin.dtype == np.uint16)
                and objects < IGNORE
                and objects + len(naming.contexts) < IGNORE
                and all(
                    isinstance(each, str) for each in (naming.background, *naming.classes, *counts.images)
                )
                and len(set(counts.images)) == len(counts.images)
                and _are_thresholds(thresholds)
                and (counts.gt <= objects + len(naming.contexts)).all()
                and ((counts.pred <= objects) | (counts.pred == IGNORE)).all()
                and (counts.count >= 0).all()
                and ((counts.image >= 0) & (counts.image < len(counts.images))).all()
                and (counts.bin is None) == (thresholds is None)
                and (counts.bin is None or (counts.bin <= len(thresholds or ())).all())
            )
        except (
            ValueError, KeyError, TypeError, OSError, AttributeError, RecursionError, pa.ArrowException,
        ) as error:  # fmt: skip
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
            data = io.BytesIO(self.read(name))
            with warnings.catch_warnings(action="ignore"), Image.open(data, formats=("PNG",)) as image:
                if image.width * image.height > MOST_PIXELS or image.mode not in ("L", "P"):
                    raise DataError(f"{self.path}: {name} is no label map")
                return np.array(image)
        except (
            UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, zlib.error,
        ) as error:  # fmt: skip
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
            if len(cams) > CAM_SAMPLE or not all(_is_sound(cam, objects) for cam in cams.values()):
                raise ValueError("no CAM")
            return cams
        except (
            SafetensorError, ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError, AttributeError,
        ) as error:  # fmt: skip
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
        if any(info.compress_type not in BOUNDED for info in infos):
            raise DataError(f"{self.path}: packed in a way that `bundle` does not write")
        sizes = {info.filename: info.file_size for info in infos}
        whole = self.path.stat().st_size
        if any(size > _most_bytes(name) for name, size in sizes.items()) or sum(sizes.values()) > max(
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
                and len(dataset["classes"]) < IGNORE
                and all(_are_ids(split["ids"]) for split in dataset["splits"].values())
            )
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
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
        given: Any = self._json(RUNS).get("runs")
        try:
            check_types(given)
            runs = [RunRecord(**run).as_dict() for run in given]  # with the fields that may be absent
            _check_runs(runs)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{self.path}: {RUNS} is not as a bundle has it ({error!s:.100})") from None
        return runs

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
        and cam.maps.dtype == np.float16
        and min(cam.maps.shape[1:]) > 0
        and len(set(cam.classes)) == len(cam.classes)
        and len(cam.classes) * height * width <= MOST_SCORES
        and len(cam.maps) == len(cam.classes)
        and all(0 <= c < objects for c in cam.classes)
        and 0 < height * width <= MOST_PIXELS
        and min(height, width) > 0
        and bool(((cam.maps >= 0) & (cam.maps <= 1)).all())
    )


def _are_ids(ids: Any) -> bool:
    """UnicodeEncodeError for an id that is half of a character, of which no hash can be made."""
    return isinstance(ids, list) and bool(all(i.encode() for i in ids)) and len(set(ids)) == len(ids)


def _are_thresholds(thresholds: tuple[float, ...] | None) -> bool:
    if thresholds is None:
        return True
    steps = np.diff(np.array(thresholds, np.float64))
    return 0 < len(thresholds) <= MOST_THRESHOLDS and bool(
        (steps > 0).all() and np.isfinite(thresholds).all()
    )


def _check_runs(runs: Sequence[Mapping[str, Any]]) -> None:
    """ValueError unless there is a run, and its stages and code have what `verify` reads."""
    if not runs:
        raise ValueError("there is no run")
    for run in runs:
        git = run["provenance"].get("git", {})
        if not isinstance(git, dict) or len(str(git.get("commit", ""))) > 64 or abs(run["seed"]) >= 2**63:
            raise ValueError("its commit or seed is none")
        for stage in run["stages"]:
            score = stage.get("score")
            named = all(isinstance(stage.get(part), str) for part in ("name", "key", "kind"))
            if not named or (score and not _is_score(score)):
                raise ValueError(f"a stage is {stage!r:.60}")


def _is_score(score: Any) -> bool:
    return isinstance(score, dict) and all(
        isinstance(score.get(part), str) for part in ("name", "key", "stage", "split")
    )


def _most_bytes(name: str) -> int:
    return LARGEST_MEMBER.get(name.partition("/")[0], LARGEST)


def _check_size(file: pq.ParquetFile, most_rows: int) -> None:
    """ValueError for a table that is small as a file alone."""
    about = file.metadata
    unpacked = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
    if about.num_rows > most_rows or unpacked > MOST_UNPACKED:
        raise ValueError(f"{about.num_rows} rows of {unpacked / 1e6:.0f} MB are more than a bundle has")


def _records(data: bytes) -> pd.DataFrame:
    """Records whose columns have their types. A text is held once until it is known how long all are together."""
    expected = records_frame([]).dtypes
    texts = [name for name in COLUMNS if expected[name].kind not in "if"]
    file = pq.ParquetFile(io.BytesIO(data), read_dictionary=texts)
    _check_size(file, MOST_ROWS[RECORDS])
    table = file.read(columns=list(COLUMNS))
    characters = 0
    for name in COLUMNS:
        column = table[name]
        if name in texts:
            column = column.cast(pa.dictionary(pa.int32(), pa.large_string()))
            for chunk in column.chunks:
                characters += pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
        sound = name in texts or str(column.type) == ("double" if expected[name].kind == "f" else "int64")
        if not sound or (column.null_count and expected[name].kind != "f"):
            raise ValueError(f"{name} is of {column.type} or has gaps")
    if characters > MOST_UNPACKED:
        raise ValueError("its texts are too long")
    return pd.DataFrame({name: table[name].to_pandas() for name in COLUMNS}).astype(expected)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: no file; give one that `bundle RUN` wrote")
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path}: larger than {LARGEST // 10**6} MB, which no bundle is")
        if path.read_bytes().count(b"PK\x01\x02") > MOST_MEMBERS:  # before a list of them fills the memory
            raise DataError(
                f"{path}: holds too many files; bundle the methods one by one with --methods NAME"
            )
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
