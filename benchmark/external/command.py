"""The command `evaluate`: score files that were made elsewhere and put them on a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.arguments import DatasetName, Overrides, parse_seeds, print_board, run_folder
from benchmark.config import PROTOCOLS, SCALES, choose, compose
from benchmark.console import console
from benchmark.folders import check_writable

SPLITS = ("train", "val")


def evaluate(
    name: Annotated[str, typer.Option(help="What the row is called.")],
    overrides: Overrides = None,
    cams: Annotated[Path | None, typer.Option(help="Folder of CAMs, ID.npy or ID.npz.")] = None,
    pseudo_labels: Annotated[Path | None, typer.Option(help="Folder of pseudo-labels, ID.png.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder of predictions, ID.png.")] = None,
    dataset: DatasetName = None,
    scale: Annotated[str, typer.Option(help="Whose leaderboard it joins.")] = "nano",
    protocol: Annotated[str, typer.Option(help="Whose leaderboard it joins.")] = "paper",
    split: Annotated[
        str | None, typer.Option(help="Scored split; the board's are train, and val for predictions.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Rows of one name and several seeds are averaged.")] = 0,
    background_threshold: Annotated[
        float | None, typer.Option(help="Of the CAMs, in [0, 1]: their score at it, beside tuned and oracle.")
    ] = None,
    supervision: Annotated[
        str, typer.Option(help="What their makers used: I, S, L, SAM, M, joined by +. M is not ranked.")
    ] = "",
    output: Annotated[Path | None, typer.Option(help="Folder of the run that it joins.")] = None,
) -> None:
    """Score CAMs, pseudo-labels or predictions from files, as a row of a run's leaderboard marked external.

    Read are indexed PNGs, and CAMs as published code saves them (docs/guide/usage.md names the formats). Sorts
    that are given later under the same name join the row; changed files replace it.
    """
    from benchmark.execution.runner import Runner
    from benchmark.external.method import External, external_config, parse_supervision
    from benchmark.planning.plan import make_plan
    from benchmark.run_folder.leaderboard import write_board
    from datasets.base import DataError
    from methods.base import Kind
    from results.merge import earlier_run

    choose("--scale", scale, SCALES)
    choose("--protocol", protocol, PROTOCOLS)
    if split is not None:
        choose("--split", split, SPLITS)
    parse_seeds(str(seed))
    method = External(name, parse_supervision(supervision))
    config = compose([], dataset, scale, protocol, list(overrides or []))
    given = {Kind.CAM: cams, Kind.PSEUDO_LABEL: pseudo_labels, Kind.PREDICTION: predictions}
    folders = {kind: folder for kind, folder in given.items() if folder is not None}
    config.method = {method.name: external_config(config, folders, split, background_threshold)}
    run_dir = output or run_folder(config.dataset, scale, protocol)
    check_writable(run_dir, "--output")
    check_writable(Path(config.runtime.store), "runtime.store")
    earlier_run(run_dir)
    runner = Runner(make_plan(config, [seed], methods=[method]), folder=run_dir)
    (result,) = runner.run()
    if result.status != "done":  # the board's other rows are not touched
        raise DataError(result.reason)
    reports = write_board(runner.plan, [result], runner.references(), run_dir)
    print_board(run_dir)
    for _, rows in result.scores:
        for row in rows:
            if row["metric"] == "miou" and row["variant"] != "curve":
                at = f" {row['variant']} at {row['threshold']:.2f}" if row["variant"] else ""
                console.print(
                    f"{row['stage']}{at}: mIoU {100 * row['value']:.2f} % on {row['images']} images of {row['split']}",
                    markup=False,
                )
    console.print(f"\nReport: {reports['html']}", markup=False)
