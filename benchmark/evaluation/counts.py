"""Per-image counts on disk: scores, per-image analyses and bootstraps follow from them without the maps.

A Parquet file with columns ``image`` (string), ``gt`` (extended ground truth id), ``pred`` (0..C, 255 where
the map said "ignored") and ``count`` (pixels); for CAMs also ``bin`` (number of thresholds below the score;
`pred` is the highest class then). Class names, context classes and thresholds are in the
schema's metadata, as JSON.
Rows of an image are adjacent; an image without a scored pixel has one row of count 0.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.evaluation.confusion import fold_ignored
from benchmark.evaluation.curves import matrices_at_thresholds
from benchmark.evaluation.scores import Naming
from datasets.base import IGNORE, ContextClass

IMAGES_PER_GROUP = 512
"""Images held back before they are written as a row group. Not more: small arrays kept for long stop the
heaps of the threads that made them from shrinking, which costs 30 KB an image."""

_METADATA = b"wsss_counts"


@dataclass(frozen=True)
class CountsHeader:
    """naming: what the ids stand for; thresholds: of CAM counts, ascending, else None"""

    naming: Naming
    thresholds: tuple[float, ...] | None = None

    def to_json(self) -> str:
        contexts = [[c.name, c.object_class, c.value] for c in self.naming.contexts]
        return json.dumps(
            {
                "background": self.naming.background,
                "classes": self.naming.classes,
                "contexts": contexts,
                "thresholds": self.thresholds,
            }
        )

    @staticmethod
    def from_json(text: str | bytes) -> CountsHeader:
        data = json.loads(text)
        contexts = tuple(ContextClass(*entry) for entry in data["contexts"])
        thresholds = None if data["thresholds"] is None else tuple(data["thresholds"])
        return CountsHeader(Naming(data["background"], tuple(data["classes"]), contexts), thresholds)


class CountsWriter:
    """Writes a counts file image by image; it appears under its name when all is written."""

    def __init__(self, path: Path, header: CountsHeader) -> None:
        fields = [("image", pa.dictionary(pa.int32(), pa.string())), ("gt", pa.uint8()), ("pred", pa.uint8())]
        if header.thresholds is not None:
            fields.append(("bin", pa.uint16()))
        fields.append(("count", pa.int32()))
        self._schema = pa.schema(fields, metadata={_METADATA: header.to_json()})
        self._path = path
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        self._pending: list[tuple[str, tuple[np.ndarray, ...]]] = []

    def __enter__(self) -> CountsWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(self._temporary, self._schema)
        return self

    def add(self, image: str, *columns: np.ndarray) -> None:
        """Counts of one image: gt, pred, (bin,) count; equally long."""
        if not len(columns[0]):
            columns = (np.zeros(1, np.int64),) * len(columns)
        self._pending.append((image, columns))
        if len(self._pending) == IMAGES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        images = [image for image, _ in self._pending]
        lengths = [len(columns[0]) for _, columns in self._pending]
        index = pa.array(np.repeat(np.arange(len(images), dtype=np.int32), lengths))
        arrays: list[pa.Array] = [pa.DictionaryArray.from_arrays(index, pa.array(images, pa.string()))]
        for field, parts in zip(list(self._schema)[1:], zip(*(columns for _, columns in self._pending))):
            arrays.append(pa.array(np.concatenate(parts)).cast(field.type))
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._pending = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._pending:
                self._flush()
            self._file.close()
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Counts:
    """A counts file in memory: `image` to `count` are its columns, `image` being an index into `images`."""

    header: CountsHeader
    images: tuple[str, ...]
    image: np.ndarray
    gt: np.ndarray
    pred: np.ndarray
    bin: np.ndarray | None
    count: np.ndarray

    @staticmethod
    def read(path: Path | BinaryIO) -> Counts:
        table = pq.read_table(path).unify_dictionaries().combine_chunks()
        column = {name: table[name].combine_chunks() for name in table.column_names if name != "image"}
        image = table["image"].combine_chunks()
        if isinstance(image, pa.ChunkedArray):  # an empty or single-chunk column, by version of pyarrow
            image = image.chunk(0)
        return Counts(
            CountsHeader.from_json(table.schema.metadata[_METADATA]),
            tuple(image.dictionary.to_pylist()),
            image.indices.to_numpy(),
            column["gt"].to_numpy(),
            column["pred"].to_numpy(),
            column["bin"].to_numpy() if "bin" in column else None,
            column["count"].to_numpy(),
        )

    def matrices(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Extended confusion matrices summed over images, int64.

        weights: (images,) how often each image counts: a bootstrap sample, a subset as 0 and 1; None: once
        returns: (C + 1 + J, C + 1), for CAMs (T, C + 1 + J, C + 1)
        """
        classes, contexts = len(self.header.naming.classes), len(self.header.naming.contexts)
        shape = [classes + 1 + contexts, classes + 2]
        index = [self.gt, np.where(self.pred == IGNORE, classes + 1, self.pred)]
        if self.bin is not None and self.header.thresholds is not None:
            shape.append(len(self.header.thresholds) + 1)
            index.append(self.bin)
        code = np.ravel_multi_index(tuple(i.astype(np.intp) for i in index), tuple(shape))
        pixels = self.count if weights is None else self.count * weights[self.image]
        sums = np.bincount(code, pixels, int(np.prod(shape))).astype(np.int64).reshape(shape)
        if self.bin is not None:
            return matrices_at_thresholds(sums[:, :-1])
        return fold_ignored(sums)
