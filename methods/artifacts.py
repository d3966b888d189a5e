"""File formats of the artifacts that stages exchange: CAMs, label maps, image scores. No pickles, atomic writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from datasets.base import DenseMap


@dataclass(frozen=True)
class Cam:
    """Class activation maps of one image.

    maps:    (K, h, w) float16 in [0, 1], one per present class, at network resolution
    classes: K object-class indices (from 0)
    size:    (H, W) of the image; scores are computed after bilinear upsampling to it
    """

    maps: np.ndarray
    classes: tuple[int, ...]
    size: tuple[int, int]


def write_cams(path: Path, cams: Mapping[str, Cam]) -> None:
    """Write one shard of CAMs (`*.safetensors`); the index is in the file's metadata."""
    index = {i: {"classes": list(c.classes), "size": list(c.size)} for i, c in cams.items()}
    tensors = {i: np.ascontiguousarray(c.maps, dtype=np.float16) for i, c in cams.items()}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata={"index": json.dumps(index)})
    temporary.replace(path)


class CamReader:
    """Random and sequential access to a CAM artifact."""

    def __init__(self, directory: Path) -> None:
        self._shards: dict[Path, dict[str, dict]] = {}
        for shard in sorted(directory.glob("*.safetensors")):
            with safe_open(shard, framework="np") as f:
                self._shards[shard] = json.loads(f.metadata()["index"])
        self._where = {i: shard for shard, index in self._shards.items() for i in index}

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._where)

    def __getitem__(self, sample_id: str) -> Cam:
        shard = self._where[sample_id]
        with safe_open(shard, framework="np") as f:
            return _cam(f.get_tensor(sample_id), self._shards[shard][sample_id])

    def __iter__(self) -> Iterator[tuple[str, Cam]]:
        for shard, index in self._shards.items():
            with safe_open(shard, framework="np") as f:
                for i, entry in index.items():
                    yield i, _cam(f.get_tensor(i), entry)


def _cam(maps: np.ndarray, entry: dict) -> Cam:
    return Cam(maps, tuple(entry["classes"]), (entry["size"][0], entry["size"][1]))


def label_map_path(directory: Path, sample_id: str) -> Path:
    """Where a label map (8-bit PNG: 0 background, i + 1 class i, 255 ignored) of an artifact lies."""
    return directory / "labels" / f"{sample_id}.png"


def label_dense_map(directory: Path) -> DenseMap:
    """The label maps of an artifact, to come with training batches."""
    return DenseMap(lambda sample_id: label_map_path(directory, sample_id), "labels")


def write_image_scores(path: Path, scores: Mapping[str, np.ndarray]) -> None:
    """Write one shard of class scores of images (`*.safetensors`), ids in the file's metadata.

    scores: image id -> (C,) float32, one a class, the higher the likelier; on any scale, as ranks are compared
    """
    temporary = path.with_suffix(".tmp")
    stacked = np.stack(list(scores.values())).astype(np.float32)
    save_file({"scores": stacked}, temporary, metadata={"ids": json.dumps(list(scores))})
    temporary.replace(path)


def read_image_scores(directory: Path) -> dict[str, np.ndarray]:
    """What `write_image_scores` wrote, of all shards: image id -> (C,) float32."""
    found: dict[str, np.ndarray] = {}
    for shard in sorted(directory.glob("*.safetensors")):
        with safe_open(shard, framework="np") as file:
            found |= zip(json.loads(file.metadata()["ids"]), file.get_tensor("scores"))
    return found
