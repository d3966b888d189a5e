"""`polygons`: a folder of label maps as outlines of their images, for annotation tools."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.annotations.formats import FORMATS, UNWRITABLE, Annotated, check_targets
from benchmark.annotations.polygons import outlines
from benchmark.console import stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from benchmark.prediction.outputs import LABELS, LEGEND
from benchmark.store import read_manifest
from datasets.base import IGNORE, DataError
from datasets.files.listing import PICTURES, files_below, first_names, text_of


def write_polygons(
    labels: Path,
    images: Path,
    to: str,
    output: Path,
    tolerance: float,
    min_area: int = 1,
    classes: Path | None = None,
) -> tuple[int, int, int]:
    """Write outlines in the form `to` (`formats.FORMATS`); returns how many images, regions and files.

    labels: folder of label maps, or of an artifact or predictions that has one; a map is of the image of its name
    images: folder of the images, also of larger ones than their maps; tolerance, min_area: pixels of the label maps,
            as `polygons.outlines` takes them
    classes: text with a class name a line; None: what the folder of the label maps says
    """
    from datasets.files.images import image_size, read_labels

    folder = labels / LABELS if (labels / LABELS).is_dir() else labels
    maps = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.png"))
    }
    if not maps:
        raise ConfigError(
            f"--labels {labels}: no label maps there; give the folder that holds PNGs of class ids"
        )
    names = _classes(folder, classes)
    places = _images(images, maps)
    check_targets(to, images, [place.relative_to(images).as_posix() for place in places.values()], output)
    check_writable(output, "--output")
    found = []
    progress = stage_progress("polygons")
    progress.start(len(maps), "img")
    try:
        for name, path in maps.items():
            pixels = read_labels(path).numpy()
            if wrong := [int(v) for v in np.unique(pixels) if len(names) < v != IGNORE]:
                raise DataError(
                    f"{path}: class id {min(wrong)} is not in 0..{len(names)} and not {IGNORE}; correct --classes"
                )
            size = image_size(places[name])
            factor = (size[1] / pixels.shape[1], size[0] / pixels.shape[0])
            regions = [
                replace(each, ring=each.ring * factor, area=round(each.area * factor[0] * factor[1]))
                for each in outlines(pixels, tolerance, min_area)
            ]
            regions.sort(key=lambda each: -each.area)  # tools draw the later ones on top
            relative = places[name].relative_to(images).as_posix()
            found.append(Annotated(places[name], relative, size, tuple(regions)))
            progress.advance(1)
    finally:
        progress.stop()
    files = FORMATS[to](found, names, output)
    return len(found), sum(len(each.outlines) for each in found), files


def _images(folder: Path, maps: dict[str, Path]) -> dict[str, Path]:
    """Image by the name of its label map, which may have the image's ending: then it is no other map's. Raises
    DataError, also where a name without an ending is left with several images."""
    if not folder.is_dir():
        raise ConfigError(f"--images {folder}: no such folder; give the folder of the images")
    own = set(maps.values())
    pictures = [p for p in files_below(folder) if p.suffix.lower() in PICTURES and p not in own]
    whole = {path.relative_to(folder).as_posix(): path for path in pictures}
    found = {name: whole[name] for name in maps if name in whole}
    rest: dict[str, list[str]] = {}
    for name in whole:
        if name not in found:
            rest.setdefault(Path(name).with_suffix("").as_posix(), []).append(name)
    for name in maps:
        if name not in found and name in rest:
            first, *others = rest[name]
            if others:
                raise DataError(
                    f"--images {folder}: the label map {name}.png may be of {first_names(rest[name])}; call it"
                    f" {first}.png if it is of that, or take the others away"
                )
            found[name] = whole[first]
    if missing := [name for name in maps if name not in found]:
        raise DataError(
            f"--images {folder}: {len(missing)} of {len(maps)} label maps have no image of their name there"
            f" ({first_names(missing)}); give the folder that their names start from"
        )
    return {name: found[name] for name in maps}


def _lines(file: Path) -> list[str]:
    try:
        return text_of(file).splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8; save it as such") from None
    except (OSError, DataError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); give a file with a class name a line") from None


def _classes(folder: Path, file: Path | None) -> tuple[str, ...]:
    """Names of the object classes: of a list, of `predict`'s legend, or of an artifact's manifest."""
    legend, manifest = folder.parent / LEGEND, folder.parent / "manifest.json"
    names: tuple[str, ...] = ()
    if file is not None:
        names = tuple(line.strip() for line in _lines(file) if line.strip())
    elif legend.is_file():
        names = tuple(line.partition(" ")[2] for line in _lines(legend)[1:])
    elif manifest.is_file():
        with suppress(ValueError, KeyError):  # damaged, or of an artifact that was made elsewhere
            said = read_manifest(manifest)["classes"]
            if isinstance(said, list) and all(isinstance(name, str) for name in said):
                names = tuple(said)
    if not names:
        raise ConfigError(
            f"{folder}: nothing says what its class ids mean; give --classes FILE, a class name a line from id 1 on"
        )
    if wrong := next(filter(UNWRITABLE.search, names), None):
        raise ConfigError(
            f"the class name {wrong!a} has characters that annotation files cannot hold; give --classes FILE without"
        )
    return names
