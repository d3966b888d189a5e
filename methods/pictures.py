"""Maps that a stage leaves beside its artifact, to be seen among the reports' example pictures: grey, or of kinds.

They are never scored and no stage reads them: ``pictures/<title>/<id>.png`` in the artifact's folder, and beside it
``kinds.txt``, the names of a map's kinds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from datasets.files.images import write_labels

_FOLDER = "pictures"
_KINDS = "kinds.txt"
_LINE = 2
_GREY = 0.5


@dataclass(frozen=True)
class Picture:
    """A map of an image. kinds: names of its values, where it is one of kinds; (): it is grey."""

    path: Path
    kinds: tuple[str, ...]


def write_picture(output: Path, title: str, sample_id: str, values: torch.Tensor) -> None:
    """Keep a map (H, W) in [0, 1] of an image; 0 is shown black, 1 white. `title` is what it is called there."""
    grey = (values.detach().float().cpu() * 255).round().to(torch.uint8)
    write_labels(output / _FOLDER / title / f"{sample_id}.png", grey, palette=None)


def write_kinds(output: Path, title: str, sample_id: str, kinds: torch.Tensor, names: Sequence[str]) -> None:
    """Keep a map (H, W) uint8 of indices into `names`, at most four; the first kind shows the image itself."""
    folder = output / _FOLDER / title
    write_labels(folder / f"{sample_id}.png", kinds.cpu(), palette=None)
    (folder / _KINDS).write_text("\n".join(names), encoding="utf-8")


def contact_sheet(maps: torch.Tensor) -> torch.Tensor:
    """Maps (N, H, W) in [0, 1], N > 0, beside and below each other in a square or nearly so, with grey lines between."""
    columns = math.ceil(math.sqrt(len(maps)))
    rows = math.ceil(len(maps) / columns)
    height, width = (n + _LINE for n in maps.shape[-2:])
    sheet = torch.full((rows * height - _LINE, columns * width - _LINE), _GREY)
    for number, values in enumerate(maps):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height - _LINE, left : left + width - _LINE] = values
    return sheet


def pictures(artifact: Path, sample_id: str) -> dict[str, Picture]:
    """The maps of an image that an artifact has, by title."""
    folders = sorted(folder for folder in (artifact / _FOLDER).glob("*") if folder.is_dir())
    return {
        folder.name: Picture(path, _kinds(folder))
        for folder in folders
        if (path := folder / f"{sample_id}.png").is_file()
    }


def _kinds(folder: Path) -> tuple[str, ...]:
    names = folder / _KINDS
    return tuple(names.read_text(encoding="utf-8").splitlines()) if names.is_file() else ()
