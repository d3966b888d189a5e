"""Stages that take CAMs and label maps made elsewhere into the store, checked, as any method's artifacts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.console import console
from benchmark.evaluation.parallel import map_in_order
from benchmark.external.files import find_file, read_cam, read_labels_by_colour
from datasets.base import Sample
from datasets.files.images import write_labels
from datasets.files.palette import VOC_PALETTE, colours_of
from methods.artifacts import label_map_path, write_cams
from methods.base import StageContext

PER_FILE = 64
"""CAMs that are held in memory and written together."""


@dataclass(frozen=True)
class ExternalFiles:
    """Files made elsewhere.

    folder: where they lie; images: of how many images of the split; sha256: of their contents
    colours: of the class ids in the data set's masks, three hexadecimal bytes each; empty for VOC's
    """

    folder: str
    split: str
    images: int
    sha256: str
    colours: str = ""


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
    """Copy label maps; those whose palettes have the ids' colours in another order are written anew, which is said."""
    classes = len(context.view.classes)
    reference = colours_of(bytes.fromhex(settings.colours) or VOC_PALETTE)

    def copy(item: tuple[Sample, Path]) -> bool:
        sample, path = item
        labels, by_colour = read_labels_by_colour(path, sample, classes, reference)
        target = label_map_path(context.output, sample.id)
        if by_colour:
            write_labels(target, labels)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return by_colour

    mapped = 0
    for _, shard in context.shards(context.view.samples(settings.split)):
        for by_colour in map_in_order(copy, _files(settings, shard, "label map")):
            mapped += by_colour
            context.advance(1)
    if mapped:
        console.print(
            f"note: {settings.folder}: {mapped} label maps have the data set's colours in another order of their"
            " palettes; their ids are those of the colours",
            markup=False,
        )


def _files(settings: ExternalFiles, samples: Sequence[Sample], sort: str) -> Iterator[tuple[Sample, Path]]:
    """The samples that have a file (those without a mask may lack one), and it."""
    for sample in samples:
        if (path := find_file(Path(settings.folder), sample.id, sort)) is not None:
            yield sample, path
