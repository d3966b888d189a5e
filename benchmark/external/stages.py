"""Stages that take CAMs and label maps made elsewhere into the store, checked, as any method's artifacts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.evaluation.parallel import map_in_order
from benchmark.external.files import check_label_map, find_file, read_cam
from datasets.base import Sample
from methods.artifacts import label_map_path, write_cams
from methods.base import StageContext

PER_FILE = 64
"""CAMs that are held in memory and written together."""


@dataclass(frozen=True)
class ExternalFiles:
    """Files made elsewhere.

    folder: where they lie; images: of how many images of the split; sha256: of their contents
    """

    folder: str
    split: str
    images: int
    sha256: str


def cams(context: StageContext, settings: ExternalFiles) -> None:
    """Copy CAMs, see `benchmark.external.files`."""
    classes = len(context.view.classes)

    def read(item: tuple[Sample, Path]) -> tuple[str, object]:
        return item[0].id, read_cam(item[1], item[0], classes)

    for name, shard in context.shards(context.view.samples(settings.split)):
        for first in range(0, len(shard), PER_FILE):
            part = shard[first : first + PER_FILE]
            found = dict(map_in_order(read, _files(settings, part, "cam")))
            write_cams(context.output / f"{name}-{first:05d}.safetensors", found)  # type: ignore[arg-type]
            context.advance(len(part))


def label_maps(context: StageContext, settings: ExternalFiles) -> None:
    """Copy label maps."""
    classes = len(context.view.classes)

    def copy(item: tuple[Sample, Path]) -> None:
        sample, path = item
        check_label_map(path, sample, classes)
        target = label_map_path(context.output, sample.id)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    for _, shard in context.shards(context.view.samples(settings.split)):
        for _ in map_in_order(copy, _files(settings, shard, "label map")):
            context.advance(1)


def _files(settings: ExternalFiles, samples: Sequence[Sample], sort: str) -> Iterator[tuple[Sample, Path]]:
    """The samples that have a file (those without a mask may lack one), and it."""
    for sample in samples:
        if (path := find_file(Path(settings.folder), sample.id, sort)) is not None:
            yield sample, path
