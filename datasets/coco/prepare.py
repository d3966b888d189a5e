"""`prepare coco2014`: images, annotations and both kinds of masks from the archives of COCO and COCO-Stuff."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.base import DataError
from datasets.coco.annotations import CocoImage, read_images
from datasets.coco.masks import Instance, from_stuff, read_instances, render
from datasets.coco.reader import (
    COCO_STUFF,
    IMAGES,
    INSTANCES,
    OFFICIAL,
    SPLITS,
    annotation_file,
    image_folder,
    mask_folder,
    require_names,
)
from datasets.files.archives import contents
from datasets.files.cores import usable_cores
from datasets.files.images import write_labels
from datasets.files.listing import names_in
from datasets.files.preparing import Download, Kind, Request, recognise, unpack_all

PICTURES = Kind(
    "train2014.zip, val2014.zip",
    re.compile(r"(?:^|/)((?P<split>train|val)2014/COCO_(?P=split)2014_\d{12}\.jpg)$"),
    ".",
)
ANNOTATIONS = Kind(
    "annotations_trainval2014.zip",
    re.compile(r"(?:^|/)(annotations/instances_(?:train|val)2014\.json)$"),
    ".",
)
STUFF = Kind("stuffthingmaps_trainval2017.zip", re.compile(r"(?:^|/)(?:train|val)2017/(\d{12})\.png$"), None)
MASK_BYTES = 6000
"""Of one mask as PNG, about."""


def prepare(request: Request) -> list[str]:
    """Make COCO's layout in `request.to`; what is there stays. Returns lines that say what there is.

    Without archives, masks are rendered for what is there. Raises DataError for archives that are none of COCO's or
    damaged, and for counts that are not the official ones.
    """
    downloads = recognise(request, (PICTURES, ANNOTATIONS, STUFF))
    maps = [d for d in downloads if d.kind is STUFF]
    masks = sum(len(d.found) for d in downloads if d.kind is not ANNOTATIONS)
    unpack_all(request, downloads, masks * MASK_BYTES)
    said, labelled = [], {}
    for split in SPLITS:
        labelled[split] = _render(request, split)
        said.append(f"{split}: {len(labelled[split])} images with an object and their masks ({INSTANCES})")
    if maps:
        _convert(request, maps, labelled)
        said.append(f"masks of both splits from COCO-Stuff, too (dataset.ground_truth={COCO_STUFF})")
    return said


def _render(request: Request, split: str) -> list[CocoImage]:
    """Masks from the instance annotations of a split; its images that hold an object."""
    path = annotation_file(request.to, split)
    if not path.is_file():
        raise DataError(f"no {path}; give annotations_trainval2014.zip with --from, or its folder with --to")
    listed = read_images(path)
    require_names(path, listed, split)
    labelled = [image for image in listed if image.labels]
    request.require_count(f"{path}: images", len(listed), IMAGES[split])
    request.require_count(f"{path}: images with an object", len(labelled), OFFICIAL[split])
    files = names_in(request.to / image_folder(split))
    missing = [image.sample_id for image in labelled if image.file_name not in files]
    request.require_all(f"{split} images in {request.to / image_folder(split)}", missing, len(labelled))
    folder = mask_folder(request.to, INSTANCES, split)
    made = names_in(folder)
    if all(f"{image.sample_id}.png" in made for image in labelled):
        return labelled
    request.say(f"{path.name}: reading outlines")
    todo = [(i, objects) for i, objects in read_instances(path) if f"{i.sample_id}.png" not in made]
    _work_off(request, f"{split} · masks", partial(_write_rendered, folder), todo, len(todo), len(labelled))
    return labelled


def _write_rendered(folder: Path, item: tuple[CocoImage, list[Instance]]) -> None:
    image, objects = item
    try:
        labels = render(objects, image.height, image.width)
    except DataError as error:
        raise DataError(f"image {image.sample_id}: {error}") from None
    write_labels(folder / f"{image.sample_id}.png", labels)


def _convert(request: Request, maps: list[Download], labelled: dict[str, list[CocoImage]]) -> None:
    """Masks from COCO-Stuff's maps, which are sorted by the splits of 2017: numbers are the same."""
    todo: dict[int, tuple[CocoImage, Path]] = {}
    for split, images in labelled.items():
        folder = mask_folder(request.to, COCO_STUFF, split)
        made = names_in(folder)
        todo |= {
            i.number: (i, folder / f"{i.sample_id}.png") for i in images if f"{i.sample_id}.png" not in made
        }
    total = sum(map(len, labelled.values()))
    of = [{int(match[1]): name for name, match in download.found.items()} for download in maps]
    missing = [
        image.sample_id for number, (image, _) in todo.items() if not any(number in names for names in of)
    ]
    request.require_all("maps of COCO-Stuff", missing, total)
    for download, names in zip(maps, of, strict=True):
        wanted = {names[number]: todo.pop(number) for number in list(todo) if number in names}
        items = ((wanted[name], name, content) for name, content in contents(download.path, wanted))
        write = partial(_write_converted, download.path)
        _work_off(request, f"{download.path.name} · masks", write, items, len(wanted), total)


def _write_converted(archive: Path, item: tuple[tuple[CocoImage, Path], str, bytes]) -> None:
    (image, place), name, content = item
    source = f"{archive}: {name}"
    write_labels(place, from_stuff(_decoded(content, source), (image.height, image.width), source))


def _decoded(content: bytes, source: str) -> np.ndarray:
    """Values (H, W) of an 8-bit single-channel PNG."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.mode not in ("L", "P"):
                raise DataError(
                    f"{source}: mode {image.mode}, not 8-bit single-channel; give the maps as they are"
                )
            return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{source}: cannot be decoded; download the archive again") from error


def _work_off(
    request: Request, title: str, work: Callable[[Any], None], items: Iterable[Any], left: int, total: int
) -> None:
    """`work` on all items in threads; `left` of them, of a `total` that counts those of earlier calls."""
    progress = request.show(title)
    progress.start(total, "img", total - left)
    try:
        for _ in _in_threads(work, items):
            progress.advance(1)
    finally:
        progress.stop()


def _in_threads(work: Callable[[Any], None], items: Iterable[Any]) -> Iterator[None]:
    """Results in order; decoding, compression and most of numpy let go of the interpreter."""
    workers = usable_cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[None]] = []
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * workers:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


PREPARE = prepare
