"""Class ids of colour-coded label maps: `python -m datasets.files.class_ids FOLDER TO`.

Every PNG below FOLDER is written below TO under its name, 8-bit with VOC's palette. Colours of RGB and indexed images
become the ids that have these colours in VOC's palette, or in a file of CVAT's labelmap.txt lines (``name:r,g,b::``,
the first is id 0); greyscale images of 8 and 16 bits keep their values.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.base import IGNORE, DataError
from datasets.files.decoding import opened
from datasets.files.listing import text_of
from datasets.files.palette import VOC_COLOURS, VOC_PALETTE, Colour


def convert_folder(source: Path, target: Path, colours: Sequence[Colour], keep: bool = False) -> int:
    """Write the class ids of all PNGs below `source` below `target`; their number.

    colours: of the ids from 0 on; keep: the values of indexed images are ids, whatever their palettes show
    Raises DataError for a colour that no id has, or where there is no PNG.
    """
    if os.path.realpath(source) == os.path.realpath(target):
        raise DataError(f"{target}: would overwrite what it is made from; name another folder")
    paths = [
        p for p in sorted(source.rglob("*")) if p.suffix.lower() == ".png" and not p.name.startswith(".")
    ]
    if not paths:
        raise DataError(f"{source}: no PNG there; give the folder of the label maps")
    ids = {colour: value for value, colour in reversed(list(enumerate(colours)))}
    for path in paths:
        made = target / path.relative_to(source)
        made.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(class_ids(path, ids, keep))
        image.putpalette(VOC_PALETTE)
        image.save(made)
    return len(paths)


def class_ids(path: Path, ids: dict[Colour, int], keep: bool) -> np.ndarray:
    """Class ids (H, W) uint8 of one image. Raises DataError."""
    with opened(path) as image:
        if image.mode in ("RGB", "RGBA") or (image.mode == "P" and not keep):
            pixels = np.asarray(image.convert("RGB")).astype(np.uint32)
        else:
            values = np.asarray(image.getchannel(0) if image.mode == "LA" else image)
            if values.max(initial=0) > IGNORE:
                raise DataError(f"{path}: holds {values.max()}, and ids are at most {IGNORE}")
            return values.astype(np.uint8)
    coded = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    found = np.zeros(coded.shape, np.uint8)
    for code in np.unique(coded):
        colour = (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255)
        if colour not in ids:
            raise DataError(
                f"{path}: no id has the colour {colour}; give the colours of yours with --colours FILE (a line a class,"
                " name:r,g,b::, the background first), or --keep if the values of indexed images are the ids already"
            )
        found[coded == code] = ids[colour]
    return found


def read_colours(file: Path) -> list[Colour]:
    """Colours of the ids from 0 on, of CVAT's labelmap.txt. Raises DataError."""
    try:
        lines = [line.strip() for line in text_of(file).splitlines()]
    except UnicodeDecodeError:
        raise DataError(f"{file}: is not UTF-8; save it as such") from None
    colours = []
    for line in (line for line in lines if line and not line.startswith("#")):
        parts = line.split(":")[1].split(",") if ":" in line else []
        if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
            raise DataError(f"{file}: {line!r} has no colour; write name:r,g,b::, a line a class")
        colours.append((int(parts[0]), int(parts[1]), int(parts[2])))
    return colours


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m datasets.files.class_ids", description=__doc__)
    parser.add_argument("folder", type=Path, help="with colour-coded PNGs")
    parser.add_argument("to", type=Path, help="folder of the class ids")
    parser.add_argument("--colours", type=Path, help="labelmap.txt; without it, VOC's colours")
    parser.add_argument("--keep", action="store_true", help="values of indexed images are the ids already")
    given = parser.parse_args(arguments)
    try:
        colours = read_colours(given.colours) if given.colours else VOC_COLOURS
        count = convert_folder(given.folder, given.to, colours, given.keep)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{count} label maps: {given.to}")


if __name__ == "__main__":
    main()
