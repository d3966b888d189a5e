"""The command `polygons`: label maps for annotation tools."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError


def polygons(
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    output: Annotated[Path, typer.Option(help="Folder for the annotations.")],
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps, such as predictions/labels.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run", help="Instead of --labels: a run, whose pseudo-labels are taken.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="With --run: whose pseudo-labels.")] = None,
    seed: Annotated[int | None, typer.Option(help="With --run: of which seed.")] = None,
    to: Annotated[str, typer.Option(help="coco, labelme, or cvat.")] = "coco",
    tolerance: Annotated[
        float, typer.Option(help="Pixels that an outline may be away from the pixels' edges; 0 keeps them.")
    ] = 1.0,
    min_area: Annotated[int, typer.Option(min=1, help="Pixels below which a region is left out.")] = 1,
    classes: Annotated[
        Path | None, typer.Option(help="A class name a line, where the folder of label maps does not say.")
    ] = None,
) -> None:
    """Write predictions or pseudo-labels as polygons that COCO, LabelMe and CVAT read, to correct them there."""
    from benchmark.annotations.convert import write_polygons
    from benchmark.annotations.formats import FORMATS
    from benchmark.prediction.networks import of_run
    from methods.base import Kind

    choose("form of annotations --to", to, list(FORMATS))
    if not 0 <= tolerance < math.inf:
        raise ConfigError(f"--tolerance {tolerance:g}: give 0 or more pixels")
    if (labels is None) == (run_dir is None):
        raise ConfigError("give either --labels FOLDER or --run FOLDER (and --method, --seed)")
    if run_dir is not None:
        labels = of_run(run_dir, method, seed, Kind.PSEUDO_LABEL)
    elif method is not None or seed is not None:
        raise ConfigError("--method and --seed choose pseudo-labels of a run; give --run instead of --labels")
    assert labels is not None
    count, regions, files = write_polygons(labels, images, to, output, tolerance, min_area, classes)
    console.print(
        f"{regions} regions of {count} images, within {tolerance:g} pixels: {files}"
        f" file{'s' if files > 1 else ''} in {output}",
        markup=False,
    )
