"""The command `budget`: how many masks tell methods apart, and which images to label next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.config import choose
from benchmark.console import console, stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from benchmark.selection.command import TITLES, known_calibration
from methods.base import Kind


def budget(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run, e.g. results/runs/shapes-nano-paper")],
    kind: Annotated[
        str,
        typer.Option(help="prediction, pseudo_label or cam; default: the first of these that the run has."),
    ] = "",
    calibration: Annotated[
        Path | None, typer.Option(help="Written by `calibrate`; by default the shipped one.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="Root of the data set, where it is not the run's any more.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for what is found; default: budget/ in the run's.")
    ] = None,
) -> None:
    """Say how many masks tell a run's methods apart, with what intervals, and which images to label next."""
    import pandas as pd

    from benchmark.selection import labelling
    from benchmark.selection.budget import BEGIN, LEAST, estimated, planned, simulated
    from benchmark.selection.budget_inputs import gather
    from benchmark.selection.sampling import sizes
    from results.budget import FOLDER, NEXT, PLAN, WIDTHS, write_budget
    from results.csv_cells import to_csv

    if kind:
        choose("kind of map", kind, [each.value for each in TITLES])
    known = known_calibration(calibration)
    folder = output or run_dir / FOLDER
    inputs = gather(run_dir, Kind(kind) if kind else None, root, "cpu", known, stage_progress)
    images = len(inputs.images)
    if images < 2 * LEAST:
        raise ConfigError(
            f"{run_dir}: {inputs.split} has {images} images, too few to choose among; label all of them"
        )
    check_writable(folder, "--output")
    if inputs.masked.all():
        document, widths = simulated(inputs)
    else:
        size = sizes(inputs.stand_in, inputs.combine)
        order = labelling.read_or_plan(
            folder / PLAN.format(split=inputs.split),
            inputs.images,
            size,
            inputs.masked,
            inputs.certain,
        )
        if order.counting < LEAST:
            to_csv(labelling.next_images(order, inputs.images, inputs.masked, BEGIN), folder / NEXT)
            if order.counting or known is None or known.spread is None:
                raise ConfigError(
                    _too_few(run_dir, inputs.split, images, order.counting, folder / NEXT, BEGIN)
                )
            document, widths = planned(inputs, known.spread)
        else:
            document, widths = estimated(inputs, order)
        if order.left_out:
            document["warnings"].append(
                f"masks of {len(order.left_out)} images do not count: an image before them in the plan has none. "
                "Label the first of label-next.csv first"
            )
        waiting = labelling.next_images(order, inputs.images, inputs.masked, document["label"])
        to_csv(waiting, folder / NEXT)
    to_csv(pd.DataFrame(widths), folder / WIDTHS)
    write_budget(folder, document)
    _print(document)
    if not document["simulated"]:
        console.print(f"\nTo label next: {folder / NEXT}", markup=False)


def _too_few(run_dir: Path, split: str, images: int, masks: int, table: Path, begin: int) -> str:
    have = "no image" if not masks else f"{masks} of {images} images"
    return (
        f"{run_dir}: {have} of {split} {'have' if masks else 'has'} a mask that counts, too few for an interval: label "
        f"the first {begin} images of {table}, run the run's command again (only scores are made), then `budget` again"
    )


def _print(document: Mapping[str, Any]) -> None:
    masks, images = document["masks"], document["images"]
    title = TITLES[Kind(document["kind"])]
    if document["simulated"]:
        console.print(
            f"\n{title}: {images} images, all with masks; draws of fewer were simulated", markup=False
        )
    else:
        console.print(f"\n{title}: {masks} of {images} images have masks that count", markup=False)
    width = max(len(row["entry"]) for row in document["entries"])
    for row in document["entries"]:
        text = f"mIoU {100 * row['value']:5.1f} %"
        if row["low"] is not None:
            text += f"  [{_points(row, 'low', 'high')}]  without evidence {100 * row['plain']:5.1f}"
            text += f"  [{_points(row, 'plain_low', 'plain_high')}]"
        console.print(f"  {row['entry']:<{width}}  {text}  masks times {row['factor']:.2f}", markup=False)
    ways = [way for way in ("plain", "evidence", "ordered") if way in document["widths"][0]]
    names = {"plain": "without evidence", "evidence": "with evidence", "ordered": "in label-next's order"}
    console.print("\nWidth of the 95 % intervals in points, mean over entries", markup=False)
    console.print("  masks  " + "  ".join(f"{names[way]:>22}" for way in ways), markup=False)
    for row in document["widths"]:
        cells = []
        for way in ways:
            covered = row.get(f"coverage_{way}")
            cells.append(
                f"{100 * row[way]:.1f}" + ("" if covered is None else f" (covers {100 * covered:.0f} %)")
            )
        console.print(f"  {row['masks']:>5.0f}  " + "  ".join(f"{cell:>22}" for cell in cells), markup=False)
    for text in document["warnings"]:
        console.print(f"Warning: {text}", style="yellow", markup=False)
    console.print(f"\n{document['advice']}", markup=False)


def _points(row: Mapping[str, Any], low: str, high: str) -> str:
    return f"{100 * row[low]:.1f}, {100 * row[high]:.1f}"
