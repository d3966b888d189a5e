"""What several commands take from the command line, and where their results go."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark.config import PROTOCOLS, SCALES, choose, run_name
from benchmark.console import console
from benchmark.failures import ConfigError
from datasets.base import DatasetConfig

Methods = Annotated[
    str,
    typer.Option(
        help="Comma-separated names; `all`: the default set, `every`: all that are installed. See `list`."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings as key=value, e.g. dataset.root=PATH method.NAME.train.iterations=100",
        show_default=False,
    ),
]
DatasetName = Annotated[str | None, typer.Option(help="Data set; by default the scale's own.")]
Scale = Annotated[str, typer.Option(help=f"One of {', '.join(SCALES)}.")]
Protocol = Annotated[str, typer.Option(help=f"One of {', '.join(PROTOCOLS)}.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
NetworkRun = Annotated[
    Path | None, typer.Option("--run", help="Folder of a run, e.g. results/runs/shapes-nano-paper.")
]
NetworkMethod = Annotated[str | None, typer.Option(help="With --run: whose network.")]
NetworkSeed = Annotated[int | None, typer.Option(help="With --run: of which seed.")]
NetworkWeights = Annotated[
    Path | None, typer.Option(help="Instead of --run: folder of a trained network, as `run` prints it.")
]


def require_values(arguments: Sequence[str]) -> None:
    """ConfigError for an option or setting without a value, as an unset variable of the shell leaves it, and for a
    setting that is no text: it is written down as one when all is done."""
    before = "command line"
    for argument in arguments:
        if not argument.strip():
            raise ConfigError(
                f"{before}: an empty value (an unset variable of the shell?); give one, or leave it out"
            )
        if re.fullmatch(r"(--[\w-]+|[~+\w./@-]+)=\s*", argument):
            text = (
                "" if argument.startswith("--") else f", or write \"{argument.strip()}''\" for an empty text"
            )
            raise ConfigError(
                f"{argument.strip()} has no value (an unset variable of the shell?); give one{text}"
            )
        if "=" in argument and re.search(r"[\ud800-\udfff]", argument):
            raise ConfigError(
                f"{argument!a}: bytes that are no UTF-8; give a link with another name to that file or folder"
            )
        before = argument


def names_of(text: str, option: str) -> list[str]:
    """The names of a comma-separated list, each once; ConfigError if there are none."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ConfigError(f"{option} names nothing; separate names by commas")
    return names


def method_names(text: str, scale: str = "nano") -> list[str]:
    """Registry names of a comma-separated list, once each.

    `all` in it is the default set, `every` what is installed and has settings at `scale`. Raises ConfigError.
    """
    from methods.registry import all_methods, broken_methods, find_method

    choose("scale", scale, SCALES)
    known = all_methods()
    sets = {
        "all": [name for name, method in known.items() if method.default],
        "every": [name for name, method in known.items() if scale in method.presets],
    }
    names: dict[str, None] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        names |= dict.fromkeys(sets.get(part) or [find_method(part).name])
        warnings = [*broken_methods().values()] if part in sets else []  # it may be one of them
        if part == "every":
            left_out = (name for name in known if name not in sets[part])
            warnings += [f"method {name} has no settings at scale {scale}; left out" for name in left_out]
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
    if not names:
        raise ConfigError("--methods names no method; see `wsss list`")
    return list(names)


def part_names(text: str, option: str, known: Iterable[str]) -> list[str]:
    """Refiners or segmentation networks of a comma-separated list; `all` is every one there is."""
    return list(known) if text.strip() == "all" else names_of(text, option)


def parse_seeds(text: str) -> list[int]:
    """Seeds of a comma-separated list."""
    try:
        seeds = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        seeds = []
    if not seeds or not all(0 <= seed < 2**32 for seed in seeds):
        raise ConfigError(
            f"--seeds {text!r}: write whole numbers from 0 to {2**32 - 1} separated by commas, e.g. 0,1,2"
        )
    return seeds


def run_folder(dataset: DatasetConfig, scale: str, protocol: str) -> Path:
    """Where a run's records and reports go by default."""
    return Path("results/runs") / run_name(dataset, scale, protocol)


def print_board(run_dir: Path, baseline: str = "") -> None:
    """The leaderboard in the terminal."""
    from reports.terminal import print_leaderboard
    from results.io import read_run

    print_leaderboard(read_run(run_dir), console, baseline)
