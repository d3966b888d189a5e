"""The command `prepare`: downloads become a data set's layout on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import datasets
from benchmark.config import choose
from benchmark.console import console, stage_progress
from benchmark.folders import check_writable


def prepare(
    name: Annotated[
        str, typer.Argument(help=f"One of {', '.join(datasets.preparable())}, or a set that is drawn here.")
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[ARCHIVE]...", help="As --from.")] = None,
    archives: Annotated[
        list[Path] | None, typer.Option("--from", help="Downloaded tar and zip archives, as they are.")
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
    choose("data set to prepare", name, [*datasets.preparable(), *drawn])
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
    made = datasets.open_dataset(datasets.dataset_class(name).config(name=name, root=str(to)))
    made.prepare()  # checks that it opens before saying that it is ready
    from benchmark.composing import written

    say(f"Ready: wsss doctor --dataset {name} {written('dataset.root', str(to))}")
