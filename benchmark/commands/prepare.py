"""The command `prepare`: downloads, or a tree of one's own images, become a data set's layout on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import datasets
from benchmark.config import choose, compose
from benchmark.console import console, stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_writable

OWN = "folder"
"""The data set of one's own images."""


def prepare(
    name: Annotated[
        str,
        typer.Argument(
            help=f"One of {', '.join(datasets.preparable())}, a set that is drawn here, or {OWN} of your images."
        ),
    ],
    more: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[ARCHIVE]...", help=f"As --from; for {OWN}, settings (dataset.good_names=OK)."
        ),
    ] = None,
    archives: Annotated[
        list[Path] | None,
        typer.Option("--from", help=f"Downloaded tar and zip archives, as they are; for {OWN}, one folder."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder of the result; later dataset.root.")] = Path(),
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept fewer images than the full data set has.")
    ] = False,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept archives that unpack to many times their size.")
    ] = False,
) -> None:
    """Turn downloads into the layout that runs read, check counts, make masks; or draw a set's images and masks."""
    from datasets.files.preparing import Request

    drawn = [each for each in datasets.names() if datasets.dataset_class(each).generated]
    choose("data set to prepare", name, [*datasets.preparable(), *drawn, OWN])
    if name == OWN:
        _prepare_own(archives or [], [str(each) for each in more or []], to)
        return
    check_writable(to, "--to")

    def say(line: str) -> None:
        console.print(line, markup=False)

    if name in drawn:
        made = datasets.open_dataset(datasets.dataset_class(name).config(name=name, root=str(to)))
        made.prepare()
        say(f"Images and masks: {made.sample(made.ids('train')[0]).image.parents[1]}")
        return
    make = datasets.preparer(name)
    request = Request([*(archives or []), *(more or [])], to, partial, stage_progress, say, any_size)
    for line in make(request):
        say(line)
    _ready(name, to)


def _prepare_own(trees: list[Path], settings: list[str], to: Path) -> None:
    """Write a tree of one's own images anew, in the canonical layout."""
    from benchmark.composing import written
    from datasets.folder.prepare import write_canonical
    from datasets.folder.reader import Folder

    if others := [each for each in settings if not each.startswith("dataset.")]:
        raise ConfigError(f"{others[0]}: neither --from FOLDER nor a setting such as dataset.good_names=OK")
    if len(trees) != 1 or to == Path():
        raise ConfigError(f"prepare {OWN}: give one folder with --from and another with --to")
    place = [written("dataset.root", str(trees[0])), "dataset.longest_side=0", "dataset.bits=16"]
    found = datasets.open_dataset(compose([], OWN, overrides=[*place, *settings]).dataset)
    assert isinstance(found, Folder)
    for note in found.notes():
        console.print(f"  {note}", markup=False)
    check_writable(to, "--to")
    progress = stage_progress(f"prepare {OWN}")
    progress.start(sum(len(found.ids(split)) for split in ("train", "val")), "img")
    try:
        write_canonical(found, to, progress.advance)
    finally:
        progress.stop()
    _ready(OWN, to)


def _ready(name: str, to: Path) -> None:
    """Check that it opens, and say how it is looked at."""
    from benchmark.composing import written

    datasets.open_dataset(datasets.dataset_class(name).config(name=name, root=str(to))).prepare()
    console.print(f"Ready: wsss doctor --dataset {name} {written('dataset.root', str(to))}", markup=False)
