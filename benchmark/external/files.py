"""CAMs and label maps made elsewhere: the files of an image in a folder, and what they hold.

CAMs, one file an image, `ID.npy` or `ID.npz`, classes from 0, maps in [0, 1] at the image's size:
- a dictionary class -> map, or in an .npz one array a class, named "0", "1", ...
- a dictionary or an .npz with "keys" (classes) and maps under one of `MAPS`
Label maps: `ID.png`, 8-bit with one channel or a palette; 0 is the background, class i has i + 1, 255 is ignored.
Where a palette has the data set's colours in another order, ids are those of the colours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.evaluation.ground_truth import require_ids
from benchmark.evaluation.parallel import map_in_order
from benchmark.external.pickled_arrays import CONVERT, read_array_file
from benchmark.store import file_hash
from datasets.base import DataError, Sample
from datasets.files.archives import MOST_TIMES, SMALL
from datasets.files.arrays import ArraysError, read_npz
from datasets.files.images import image_size, read_labels
from datasets.files.palette import Colour, ids_by_colour, palette_of, save_ids
from methods.artifacts import Cam

SUFFIXES = {"cam": (".npz", ".npy"), "label map": (".png",)}
"""Endings of the files of each sort, the first that is there counts."""
MAPS = ("high_res", "attn_highres", "cam")
"""Names of the maps beside "keys" in published files and in a converted one; the first that is there counts."""
ROUNDING = 1e-3
"""How far values may leave [0, 1]: interpolation and half precision do by less."""


def find_file(folder: Path, sample_id: str, sort: str) -> Path | None:
    """The file of an image, None if there is none. sort: a key of `SUFFIXES`."""
    paths = (folder / f"{sample_id}{suffix}" for suffix in SUFFIXES[sort])
    return next((path for path in paths if path.is_file()), None)


def content_hash(paths: Iterable[tuple[str, Path]]) -> str:
    """SHA-256 over ids and the contents of their files."""
    digest = hashlib.sha256()
    for sample_id, content in map_in_order(lambda item: (item[0], file_hash(item[1])), paths):
        digest.update(f"{sample_id}\0{content}\n".encode())
    return digest.hexdigest()


def read_cam(path: Path, sample: Sample, classes: int) -> Cam:
    """CAM of one image. Raises DataError for what is no CAM of it; classes: number of object classes."""
    size = image_size(sample.image)
    content = _read_npz(path, classes * size[0] * size[1]) if path.suffix == ".npz" else read_array_file(path)
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: holds one array, which does not say whose maps it has; write an .npz with keys and cam: {CONVERT}"
        )
    keys, maps = _keys_and_maps(path, content)
    if maps.ndim != 3 or len(maps) != len(keys) or len(set(keys)) < len(keys):
        raise DataError(
            f"{path}: {len(keys)} keys {keys[:5]} and maps of shape {maps.shape} do not belong together; "
            "save one map (height, width) for each class"
        )
    if keys and maps.shape[1:] != size:
        raise DataError(
            f"{path}: maps are {maps.shape[2]}x{maps.shape[1]}, image {sample.image} is {size[1]}x{size[0]} "
            "(width x height); save the CAM at its image's size"
        )
    if wrong := [key for key in keys if not 0 <= key < classes]:
        raise DataError(
            f"{path}: class {wrong[0]}, but classes are 0..{classes - 1}, the background not counted; "
            "check the class list it was made with"
        )
    # written so that NaN fails too
    if not np.all((maps >= -ROUNDING) & (maps <= 1 + ROUNDING)):
        raise DataError(
            f"{path}: values from {maps.min():g} to {maps.max():g}, outside [0, 1]; divide each map by its maximum"
        )
    return Cam(np.clip(maps, 0, 1).astype(np.float16), tuple(keys), size)


def read_labels_by_colour(
    path: Path, sample: Sample, classes: int, reference: Sequence[Colour]
) -> tuple[np.ndarray, bool]:
    """As `read_labels_of_any_size`, of a map that has its image's size. Raises DataError for another."""
    labels, by_colour = read_labels_of_any_size(path, classes, reference)
    size = image_size(sample.image)
    if labels.shape != size:
        raise DataError(
            f"label map {path} is {labels.shape[1]}x{labels.shape[0]}, image {sample.image} is {size[1]}x{size[0]} "
            "(width x height); save it at its image's size, without interpolation between ids"
        )
    return labels, by_colour


def read_labels_of_any_size(path: Path, classes: int, reference: Sequence[Colour]) -> tuple[np.ndarray, bool]:
    """Class ids (H, W) uint8 of a label map, and whether its palette has the ids' colours in another order.

    classes: number of object classes; reference: colours of the ids. Raises DataError for what is no label map.
    """
    values = np.asarray(read_labels(path))
    palette = palette_of(path)
    labels = values if palette is None else ids_by_colour(values, palette, reference, classes)
    if labels is None:
        assert palette is not None
        odd = next(int(v) for v in np.unique(values) if v >= len(palette) or palette[v] != reference[v])
        shown = f"colour {palette[odd]}" if odd < len(palette) else "no colour"
        raise DataError(
            f"{path}: its palette gives value {odd} {shown}, the data set {reference[odd]}, so its values may be no"
            f" class ids; {save_ids(path.parent)}, with --keep if they are"
        )
    require_ids(labels, path, "label map", classes)
    return labels, labels is not values


def _read_npz(path: Path, values: int) -> dict[str, np.ndarray]:
    """values: numbers that the maps of all classes have; twice as many in the widest type may be there."""
    try:
        return read_npz(path, max(SMALL, min(MOST_TIMES * path.stat().st_size, 2 * 8 * values)))
    except ArraysError as error:
        raise DataError(
            f"{path}: not read ({error}); save keys and the maps at the image's size, and nothing else, with np.savez"
        ) from error


def _keys_and_maps(path: Path, content: Mapping[Any, Any]) -> tuple[list[int], np.ndarray]:
    """Classes, and their maps (K, H, W); the maps of no class have any size."""
    if "keys" in content:
        name = next((name for name in MAPS if name in content), None)
        if name is None:
            raise DataError(
                f"{path}: has keys, and {', '.join(map(str, content))}, but no maps; call them one of {', '.join(MAPS)}"
            )
        keys, maps = np.asarray(content["keys"]).reshape(-1), np.asarray(content[name])
        if not keys.size:
            return [], np.zeros((0, 1, 1), np.float32)
    else:
        numbers = [str(key) for key in content]
        if not all(number.isdecimal() for number in numbers):
            raise DataError(
                f"{path}: holds {', '.join(numbers[:5])}, no classes; name maps by class (from 0), or give keys and cam"
            )
        keys, parts = np.array(numbers, np.int64), [np.asarray(part) for part in content.values()]
        if not parts:
            return [], np.zeros((0, 1, 1), np.float32)
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            raise DataError(
                f"{path}: maps of different sizes {sorted(shapes)}; save all at their image's size"
            )
        maps = np.stack(parts)
    if keys.dtype.kind not in "iu" or maps.dtype.kind not in "fbiu":
        raise DataError(
            f"{path}: keys of type {keys.dtype} and maps of type {maps.dtype}; save class numbers and floats"
        )
    return [int(key) for key in keys], maps
