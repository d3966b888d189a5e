"""The command `predict`: label maps, regions and verdicts of new images; or VOC's test set, packed for its server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.arguments import (
    Device,
    NetworkMethod,
    NetworkRun,
    NetworkSeed,
    NetworkWeights,
    names_of,
)
from benchmark.config import choose
from benchmark.console import console, duration
from benchmark.failures import ConfigError
from datasets.base import DataError

COMPETITION = "comp6"
"""VOC's, of segmentation with any training pictures."""
PARTS = {
    "verdicts": "verdicts.csv (file, OK or class, score)",
    "regions": "regions.csv and regions/*.json (class, box, area, score, centroid)",
    "labels": "labels/ (class ids, see classes.txt)",
    "overlays": "overlays/",
    "scores": "scores/<class>/ (16 bits)",
}
"""What `--write` takes -> its description in the help."""


def predict(
    images: Annotated[
        Path | None,
        typer.Option(
            help="Images to segment: a folder, an image, a list of files (a path a line), or - for standard input."
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(help="Instead of --images: a folder whose new images are segmented until Ctrl-C."),
    ] = None,
    run_dir: NetworkRun = None,
    method: NetworkMethod = None,
    seed: NetworkSeed = None,
    weights: NetworkWeights = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("predictions"),
    write: Annotated[
        str, typer.Option(help=f"What to write, comma-separated: {', '.join(PARTS)}, or `all`.")
    ] = "verdicts,regions,labels,overlays",
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Take the images in subfolders of the folder, too.")
    ] = False,
    min_area: Annotated[
        int,
        typer.Option(min=1, help="Pixels below which a region counts neither as one nor for the verdict."),
    ] = 1,
    tile: Annotated[
        int | None,
        typer.Option(min=0, help="Side of the tiles that large images pass the network in, pixels; 0: none."),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(min=0, help="With --tile: pixels that a tile sees around what is kept of it."),
    ] = None,
    device: Device = "auto",
    test: Annotated[
        Path | None,
        typer.Option(
            help="Instead of --images: VOCdevkit whose test set is packed for VOC's evaluation server."
        ),
    ] = None,
    competition: Annotated[
        str, typer.Option(help="With --test: comp5 (VOC's images alone) or comp6.")
    ] = COMPETITION,
    partial: Annotated[
        bool, typer.Option("--partial", help="With --test: accept a part of the list.")
    ] = False,
) -> None:
    """Segment unlabelled images with a trained result: verdicts, regions, label maps; or VOC's test set."""
    from benchmark.prediction.networks import chosen

    sources = [source for source in (images, watch, test) if source is not None]
    if len(sources) != 1:
        raise ConfigError("give one of --images FOLDER, --watch FOLDER and --test VOCDEVKIT")
    if test is None and (partial or competition != COMPETITION):
        raise ConfigError("--competition and --partial are of --test VOCDEVKIT; leave them out")
    if test is not None and (recursive or min_area > 1 or tile is not None):
        raise ConfigError("--recursive, --min-area and --tile are of --images and --watch; leave them out")
    if tile is None and overlap is not None:
        raise ConfigError("--overlap is of --tile PIXELS; give both")
    parts = list(PARTS) if write == "all" else names_of(write, "--write")
    for part in parts:
        choose("part to --write", part, PARTS)
    network = chosen(run_dir, method, seed, weights)
    if test is not None:
        from benchmark.prediction.submission import predict_test

        archive, count = predict_test(network, test, output, competition, device, partial)
        console.print(f"{count} images, checked: {archive}", markup=False)
        return
    from benchmark.prediction.predict import predict_images

    done = predict_images(
        network,
        sources[0],
        output,
        device,
        parts,
        recursive=recursive,
        min_area=min_area,
        watch=watch is not None,
        tile=tile,
        overlap=overlap,
    )
    count = done.verdicts.total()
    if count:
        console.print(
            f"Written to {output}: {', '.join(PARTS[part] for part in PARTS if part in parts)}", markup=False
        )
        rate = count / (done.seconds - done.loading)
        speed = f" (loading {duration(done.loading)}, then {rate:.1f} a second)" if watch is None else ""
        console.print(
            f"{count} images in {duration(done.seconds)}{speed}: {_said(done.verdicts)}", markup=False
        )
    if done.skipped:
        raise DataError(
            f"{done.skipped} of {count + done.skipped} images could not be used (named above); the others are in {output}"
        )


def _said(verdicts: Counter[str]) -> str:
    """``31 OK, 6 scratch, 3 dent``"""
    return ", ".join(f"{count} {name}" for name, count in verdicts.most_common())
