"""The commands `bundle`, `verify` and `site`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.arguments import Device, Overrides, names_of
from benchmark.config import DEVICES, choose
from benchmark.console import console
from benchmark.failures import ConfigError, printable
from benchmark.folders import check_file, check_writable
from datasets.files.places import resolved

BOARD = Path("results/leaderboard")
Leaderboard = Annotated[Path, typer.Option(help="Folder of the accepted bundles.")]


def bundle(
    run_dir: Annotated[
        Path | None, typer.Argument(help="Folder of a run, e.g. results/runs/shapes-nano-paper")
    ] = None,
    overrides: Overrides = None,
    form: Annotated[
        Path, typer.Option(help="The form of the submission; an empty one is written where there is none.")
    ] = Path("submission.yaml"),
    output: Annotated[
        Path | None, typer.Option(help="The bundle; default: the run's name with .bundle.zip.")
    ] = None,
    methods: Annotated[str, typer.Option(help="Comma-separated, of the run folder; default: all.")] = "",
) -> None:
    """Pack a run for others to check: scores, counts, label maps, sampled CAMs; no picture, no path."""
    from benchmark.bundles.form import TEMPLATE, form_at

    if not form.exists():
        check_file(form, "--form")
        form.write_text(TEMPLATE, encoding="utf-8")
        raise ConfigError(f"{form} is written: fill it in, and run the same command again")
    if run_dir is None:
        raise ConfigError("name the folder of a run, such as results/runs/shapes-nano-paper")
    from benchmark.bundles.write import describe, write_bundle

    answers = form_at(form)
    target = output or Path(f"{resolved(run_dir).name}.bundle.zip")
    check_file(target, "--output")
    chosen = names_of(methods, "--methods") if methods else []
    manifest = write_bundle(run_dir, answers, target, overrides or [], chosen)
    console.print(describe(manifest, target), markup=False)
    console.print(f"Check it as others will: wsss verify {shlex.quote(str(target))}", markup=False)


def verify(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file that `bundle` wrote.")],
    overrides: Overrides = None,
    data: Annotated[
        bool, typer.Option("--data", help="Score label maps and CAMs again; settings say where the data lie.")
    ] = False,
    recompute: Annotated[int, typer.Option(help="Segment so many images again, with --weights.")] = 0,
    weights: Annotated[
        Path | None, typer.Option(help="Folder of the bundle's network, as `run` prints it.")
    ] = None,
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="Also write the result as JSON.")] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Put its small parts on the leaderboard, if it is consistent.")
    ] = False,
    leaderboard: Leaderboard = BOARD,
    address: Annotated[
        str, typer.Option(help="With --accept: where the bundle can be had, https://...")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="With --accept: in place of the submitter's former bundle.")
    ] = False,
) -> None:
    """Check a bundle: do its parts agree, and with --data, are its scores those of the data set at hand?"""
    from benchmark.bundles.accept import Acceptance
    from benchmark.bundles.accept import accept as put
    from benchmark.bundles.contents import Bundle
    from benchmark.bundles.form import is_address
    from benchmark.bundles.rerun import recomputation
    from benchmark.bundles.verify import verify as check
    from benchmark.bundles.write import open_data

    choose("device", device, DEVICES)
    if recompute < 0 or (recompute > 0) != (weights is not None):
        raise ConfigError(
            "--recompute N, of at least 1, and --weights FOLDER belong together; give both or neither"
        )
    if (address or replace) and not accept:
        raise ConfigError("--address and --replace are of --accept; add it, or leave them out")
    if address and not is_address(address):
        raise ConfigError(
            f"--address {address}: give an address that begins with https://, without spaces or quotes"
        )
    if output is not None:
        check_file(output, "--output")
    if accept:
        check_writable(leaderboard, "--leaderboard")
    with Bundle(path) as opened:
        dataset = open_data(opened.runs[0], overrides or []) if data or recompute or overrides else None
        again = None
        if weights is not None:
            assert dataset is not None
            again = recomputation(weights, recompute, dataset, device)
        result = check(opened, dataset, again)
        for each in result.checks:
            console.print(f"{'ok ' if each.passed else 'BAD'} {each.what}", markup=False)
            for line in (*each.faults, *each.notes):
                console.print(f"      {printable(line)}", markup=False)
        console.print(f"{path}: {result.level}", markup=False, style="bold")
        if output is not None:
            text = json.dumps(result.as_dict(), indent=1, ensure_ascii=False)
            output.write_text(text + "\n", encoding="utf-8")
        if accept:
            folder = put(opened, result, Acceptance(leaderboard, address, replace))
            console.print(f"accepted: {folder}", markup=False)
    if not all(each.passed for each in result.checks):
        sys.exit(1)


def site(
    output: Annotated[
        Path, typer.Option(help="Folder for the pages; files of their names are replaced.")
    ] = Path("site"),
    leaderboard: Leaderboard = BOARD,
) -> None:
    """Build the public leaderboard from the accepted bundles: static pages that need no server."""
    from benchmark.bundles.site import build_site

    check_writable(output, "--output")
    console.print(f"open: {build_site(leaderboard, output)}", markup=False)
