"""Colours of class ids: what palettes of indexed images mean, and the command that makes ids of colours.

An image's palette is free to number its colours in any order, as Pillow's adaptive one does by frequency: then its
values are no class ids, whatever they look like.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.base import IGNORE, DataError, Problem
from datasets.files.decoding import opened
from datasets.files.listing import first_names

Colour = tuple[int, int, int]


def _voc_palette() -> bytes:
    """The colour map of PASCAL VOC: the bits of the class id, three by three, from the highest bit down."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


VOC_PALETTE = _voc_palette()
"""256 RGB triples: PASCAL VOC's colours of the class ids."""


def colours_of(palette: bytes | Sequence[int] | None) -> tuple[Colour, ...]:
    """RGB triples of a flat palette, by value."""
    flat = list(palette or ())
    return tuple((flat[k], flat[k + 1], flat[k + 2]) for k in range(0, len(flat) - 2, 3))


VOC_COLOURS = colours_of(VOC_PALETTE)


def palette_of(path: Path) -> tuple[Colour, ...] | None:
    """The palette of an indexed image, from its header; None for any other file."""
    try:
        with opened(path) as image:
            return colours_of(image.getpalette()) if image.mode == "P" else None
    except DataError:
        return None


def reference_palette(masks: Iterable[Path]) -> tuple[Colour, ...]:
    """Colours of class ids in a data set: those of its masks where these are indexed and agree, else VOC's."""
    found = sorted({palette for path in masks if (palette := palette_of(path)) is not None}, key=len)
    if not found or any(palette != found[-1][: len(palette)] for palette in found):
        return VOC_COLOURS
    return (*found[-1], *VOC_COLOURS[len(found[-1]) :])


def ids_by_colour(
    pixels: np.ndarray, palette: Sequence[Colour], reference: Sequence[Colour], classes: int
) -> np.ndarray | None:
    """Class ids of an indexed image, or None where its colours do not say what its values mean.

    pixels: (H, W) uint8 of values into `palette`; reference: colours of class ids; classes: ids are 0..classes and 255
    Returns `pixels` itself where the palette has the reference's colours at the values used, or grey ones that rise
    with the values; ids by colour where it has them in another order.
    """
    used = [int(value) for value in np.unique(pixels)]
    if any(value >= len(palette) for value in used):
        return None
    shown = {value: palette[value] for value in used}
    if all(colour in (reference[value], (value,) * 3) for value, colour in shown.items()):
        return pixels
    ids = {reference[i]: i for i in (IGNORE, *range(classes, -1, -1))}
    if any(colour not in ids for colour in shown.values()):
        return pixels if _rises(list(shown.values())) else None
    table = np.zeros(256, np.uint8)
    for value, colour in shown.items():
        table[value] = ids[colour]
    return table[pixels]


def _rises(colours: Sequence[Colour]) -> bool:
    """Whether several colours are greys, each lighter than the one before: values stretched to be seen."""
    grey = [colour[0] for colour in colours if len(set(colour)) == 1]
    return len(grey) == len(colours) > 1 and grey == sorted(set(grey))


def palette_problem(name: str, colours: Mapping[str, Mapping[int, Colour]], folder: Path) -> Problem | None:
    """An error where masks show one id in different colours, so that their values are no class ids.

    colours: id of an image -> value used in its mask -> colour, of indexed masks; folder: with the masks
    """
    seen: dict[int, Counter[Colour]] = {}
    for shown in colours.values():
        for value, colour in shown.items():
            seen.setdefault(value, Counter())[colour] += 1
    usual = {value: counts.most_common(1)[0][0] for value, counts in seen.items()}
    other = [i for i, shown in colours.items() if any(usual[v] != colour for v, colour in shown.items())]
    if not other:
        return None
    value, colour = next((v, c) for v, c in colours[other[0]].items() if usual[v] != c)
    return Problem(
        f"{name}: {len(other)} of {len(colours)} indexed masks have another palette than the rest"
        f" ({first_names(other)}): value {value} is {colour} there and {usual[value]} elsewhere, so values are no"
        " class ids",
        save_ids(folder),
    )


def shown_colours(
    held: Mapping[str, Iterable[int]], paths: Mapping[str, Path]
) -> dict[str, dict[int, Colour]]:
    """What `palette_problem` looks at: id of an image -> value in its mask -> its colour, where it is indexed.

    held: id of an image -> values in its mask; paths: of the masks
    """
    found = {}
    for sample_id, values in held.items():
        if (palette := palette_of(paths[sample_id])) is not None:
            found[sample_id] = {v: palette[v] for v in values if v < len(palette)}
    return found


def save_ids(folder: Path) -> str:
    """What to do about colours in a folder, as a remedy with its command."""
    made = folder.with_name(f"{folder.name}-ids")
    command = shlex.join(["python", "-m", "datasets.files.class_ids", str(folder), str(made)])
    return f"save class ids, not colours: {command}"
