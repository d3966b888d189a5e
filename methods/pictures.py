"""Greyscale maps that a stage leaves beside its artifact, to be seen among the reports' example pictures.

They are never scored and no stage reads them: ``pictures/<title>/<id>.png`` in the artifact's folder.
"""

from __future__ import annotations

from pathlib import Path

import torch

from datasets.images import write_labels

_FOLDER = "pictures"


def write_picture(output: Path, title: str, sample_id: str, values: torch.Tensor) -> None:
    """Keep a map (H, W) in [0, 1] of an image; 0 is shown black, 1 white. `title` is what it is called there."""
    grey = (values.detach().float().cpu() * 255).round().to(torch.uint8)
    write_labels(output / _FOLDER / title / f"{sample_id}.png", grey, palette=None)


def pictures(artifact: Path, sample_id: str) -> dict[str, Path]:
    """The maps of an image that an artifact has, by title."""
    folders = sorted(folder for folder in (artifact / _FOLDER).glob("*") if folder.is_dir())
    found = {folder.name: folder / f"{sample_id}.png" for folder in folders}
    return {title: path for title, path in found.items() if path.is_file()}
