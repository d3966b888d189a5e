"""The command `audit`: which scoring rule gives the number that was reported for files made elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.arguments import DatasetName, Overrides
from benchmark.config import choose, compose
from benchmark.console import console, stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_file
from datasets.base import DataError


def audit(
    folder: Annotated[
        Path, typer.Argument(help="Folder of label maps (ID.png) or CAMs (ID.npy, ID.npz).", metavar="DIR")
    ],
    overrides: Overrides = None,
    reported: Annotated[
        str | None,
        typer.Option(help="The mIoU as it was printed, e.g. 61.2; its digits say how exact it is."),
    ] = None,
    dataset: DatasetName = None,
    split: Annotated[
        str | None,
        typer.Option(help="List that it is of: train, val, another of the data set's, or --list's."),
    ] = None,
    lists: Annotated[
        list[Path] | None,
        typer.Option("--list", help="A file with an image id a line: one more list to score."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Where both are there: label-maps or cams.")] = None,
    resize: Annotated[
        str, typer.Option(help="Also with masks and predictions stretched to a square: sides, e.g. 448,512.")
    ] = "",
    crf: Annotated[
        bool, typer.Option("--crf", help="Also after a dense CRF; about a second an image.")
    ] = False,
    background_threshold: Annotated[
        float | None, typer.Option(help="Of CAMs, in [0, 1]; by default the best for each score.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="CSV file for the scores of all rules.")] = None,
) -> None:
    """Score anybody's files under every rule in use, and say which rule gives the number reported for them.

    Exit code 1 where no rule gives it. Files are read as by `evaluate`; label maps may have any size.
    """
    from benchmark.explanation.audit import KINDS, look_through
    from benchmark.explanation.audit import audit as score
    from benchmark.explanation.counting import Options
    from benchmark.explanation.verdict import IDLE, read_reported, table, verdict, write_table
    from datasets import open_dataset
    from datasets.lists import named_lists

    claim = None if reported is None else read_reported(reported)
    if kind is not None:
        choose("--kind", kind, KINDS)
    sizes = _sides(resize)
    if background_threshold is not None and not 0 <= background_threshold <= 1:
        raise ConfigError(f"--background-threshold {background_threshold:g}: must be in [0, 1]")
    config = compose([], dataset, "nano", "paper", list(overrides or []))
    if output is not None:
        check_file(output, "--output")
    data = open_dataset(config.dataset)
    data.prepare()
    known = named_lists(data)
    known |= _own_lists(lists or [], known)
    found = look_through(folder, data, known, kind, split)
    if found.kind == "cams" and crf and background_threshold is None:
        raise ConfigError("--crf of CAMs needs their threshold; give --background-threshold VALUE with it")
    if found.kind == "label-maps" and background_threshold is not None:
        raise ConfigError("--background-threshold is of CAMs; these are label maps, leave it out")
    sweep = tuple(k / 100 for k in range(round(config.evaluation.sweep_max * 100) + 1))
    options = Options(sizes, crf, background_threshold, sweep if found.kind == "cams" else ())
    images = len({i for each in found.lists for i in each.files})
    console.print(
        f"{images:,} {'CAMs' if found.kind == 'cams' else 'label maps'} in {folder}, images and masks of {data.name}\n",
        markup=False,
    )
    progress = stage_progress("audit")
    progress.start(images, "img")
    try:
        result = score(data, found, options, progress.advance)
    finally:
        progress.stop()
    lines = [*table(result), ""]
    if result.idle:
        lines.append(f"Makes no difference: {'; '.join(IDLE[name] for name in result.idle)}")
    untried = [
        f"{each.name}: {len(each.files)} of {len(each.masked)} images have a file" for each in found.other
    ]
    untried += [] if sizes else ["other sizes: --resize 448"]
    untried += [] if crf else ["a dense CRF: --crf"]
    if untried:
        lines.append(f"Not tried: {'; '.join(untried)}")
    lines += [f"Note: {text}" for text in result.notes]
    lines += [f"Warning: {text}" for text in result.warnings]
    console.print("\n".join(lines), markup=False)
    if output is not None:
        write_table(result, output)
        console.print(f"All {len(result.scored):,} rules: {output}", markup=False)
    if claim is not None:
        given, said = verdict(result, claim)
        console.print("\n" + "\n".join(said), markup=False)
        if not given:
            sys.exit(1)


def _own_lists(files: Sequence[Path], known: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Name of a file -> its ids; ConfigError where these are no images of the lists that are known."""
    from datasets.voc.reader import read_list

    found: dict[str, tuple[str, ...]] = {}
    images = {i for ids in known.values() for i in ids}
    for file in files:
        if not file.is_file():
            raise ConfigError(f"--list {file}: no such file; write an image id a line into it")
        if file.stem in (known.keys() | found.keys()):
            raise ConfigError(
                f"--list {file}: there is a list called {file.stem} already; give it another name"
            )
        try:
            ids = read_list(file)
        except DataError:
            raise ConfigError(
                f"--list {file}: no list; write an image id a line into it, each once, as UTF-8"
            ) from None
        if unknown := [i for i in ids if i not in images]:
            raise ConfigError(
                f"--list {file}: {len(unknown)} of its {len(ids)} ids are no images of the data set "
                f"({unknown[0]:.60} first); remove them"
            )
        found[file.stem] = ids
    return found


def _sides(text: str) -> tuple[int, ...]:
    """Of "448,512"; ConfigError for what are no sides of pictures."""
    try:
        sides = tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        sides = (0,)
    if not all(1 <= side <= 4096 for side in sides) or (text and not sides):
        raise ConfigError(f"--resize {text!r}: write sides in pixels, 1 to 4096, as in --resize 448,512")
    return sides
