"""The commands `select`, which chooses thresholds and methods without masks, and `calibrate`, which fits what it uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.commands.arguments import Device
from benchmark.config import DEVICES, choose
from benchmark.console import console, stage_progress
from benchmark.failures import ConfigError
from benchmark.folders import check_file, check_writable
from methods.base import Kind

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.selection.candidates import Found
    from benchmark.selection.model import Calibration

IMAGES = 200
TITLES = {
    Kind.CAM: "CAMs, on train",
    Kind.PSEUDO_LABEL: "Pseudo-labels, on train",
    Kind.PREDICTION: "Segmentation, on val",
}
Images = Annotated[int, typer.Option(help="Images of each split that evidence is taken of; 0: all.")]


def select(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run, e.g. results/runs/shapes-nano-paper")],
    images: Images = IMAGES,
    calibration: Annotated[
        Path | None, typer.Option(help="Written by `calibrate`; by default the shipped one.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(help="Root of the data set, where it is not the run's any more.")
    ] = None,
    device: Device = "auto",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for selection.csv and .json; default: selection/ in the run's."),
    ] = None,
) -> None:
    """Choose thresholds and rank methods, refiners and networks of a run without masks, with a predicted mIoU."""
    from benchmark.selection.candidates import find
    from benchmark.selection.collect import read_or_collect
    from benchmark.selection.features import features
    from benchmark.selection.model import selected
    from results.csv_cells import to_csv
    from results.selection import FOLDER, TABLE, keys_of, write_choices

    _check(images, device)
    known = known_calibration(calibration)
    found = find(run_dir, root)
    folder = output or run_dir / FOLDER
    check_writable(folder, "--output")
    table = selected(features(read_or_collect(found, images, device, stage_progress)), known)
    warnings = [*found.notes, *_warnings(found, table, known)]
    _print(table, known, warnings)
    to_csv(table, folder / TABLE)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    level = known.level if known else None
    write_choices(
        folder, {"warnings": warnings, "level": level, "keys": keys_of(found.runs), "choices": rows}
    )
    console.print(f"\nChoices: {folder / TABLE}", markup=False)


def calibrate(
    run_dirs: Annotated[list[Path], typer.Argument(help="Folders of runs on data that have masks.")],
    output: Annotated[
        Path, typer.Option(help="JSON file of the calibration, for `select --calibration`.")
    ] = Path("results/runs/calibration.json"),
    images: Images = IMAGES,
    device: Device = "auto",
) -> None:
    """Fit what `select` predicts with, and say what its choices lose on each data set when it is left out."""
    from dataclasses import replace

    import pandas as pd

    from benchmark.selection import model
    from benchmark.selection.candidates import find
    from benchmark.selection.collect import read_or_collect
    from benchmark.selection.evaluate import evaluate, with_truth
    from benchmark.selection.features import features
    from benchmark.selection.spread import largest, spread_ratios

    _check(images, device)
    check_file(output, "--output")
    tables, sources, spreads = [], [], []
    for run_dir in dict.fromkeys(run_dirs):
        found = find(run_dir)
        evidence = read_or_collect(found, images, device, stage_progress)
        table = with_truth(features(evidence), found).assign(data=_name_of(found), run=run_dir.name)
        spreads.append(spread_ratios(found, evidence))
        tables.append(table)
        sources.append(
            {
                "data": _name_of(found),
                "methods": sorted(table["method"].unique()),
                "seeds": sorted(int(seed) for seed in table["seed"].unique()),
                "artifacts": int(table["key"].nunique()),
                "images": images,
                "commits": list(found.commits),
            }
        )
    whole = pd.concat(tables, ignore_index=True).drop_duplicates(["data", "key", "threshold"])
    measured = evaluate(whole)
    rows: Any = measured.astype(object).where(measured.notna(), None).to_dict("records")
    fitted = replace(model.calibrate(whole), spread=largest(spreads), sources=sources, evaluation=rows)
    fitted.write(output)
    _print_evaluation(measured, fitted)
    console.print(f"\nCalibration: {output}", markup=False)


def known_calibration(given: Path | None) -> Calibration | None:
    """The calibration that is given, or else the shipped one, where there is one. Raises ConfigError and DataError."""
    from benchmark.selection.model import SHIPPED, read_calibration

    if given is not None and not given.is_file():
        raise ConfigError(f"--calibration {given}: no such file; write one with `calibrate RUN_FOLDER...`")
    place = given or SHIPPED
    return read_calibration(place) if place.is_file() else None


def _name_of(found: Found) -> str:
    """Of the data, as run folders begin: users' own data sets differ in it alone."""
    return found.folder.name.rsplit("-", 2)[0]


def level_text(level: float) -> str:
    """A share as percent, not rounded up to a whole one."""
    return f"{100 * level:.3g} %"


def _check(images: int, device: str) -> None:
    if images < 0:
        raise ConfigError(f"--images {images}: must be 0, for all, or more")
    choose("device", device, DEVICES)


def _warnings(found: Found, table: pd.DataFrame, known: Calibration | None) -> list[str]:
    from benchmark.selection.model import LEVEL

    said = []
    if known is None:
        said.append(
            "not calibrated: nothing is predicted; thresholds and ranks are by the product of four factors. "
            "`calibrate` fits runs on data with masks"
        )
    elif len({source["data"] for source in known.sources}) < 2:
        said.append(
            "calibrated on one data set: what it says of others is untested, and its intervals are too narrow"
        )
    if not found.jurors:
        said.append(
            "no method of the run has a classifier: scores with parts of the image hidden are missing"
        )
    elif table[["kept", "lost"]].isna().all(axis=None):
        said.append(
            "classifiers judge nothing: no class is on some images and missing on others, or none is recognised; scores "
            "with parts of the image hidden are left out"
        )
    if table["method"].nunique() < 2:
        said.append("one method alone: there are no others that it could agree with")
    if known is not None:
        if known.level < LEVEL:
            said.append(
                f"calibrated on too few artifacts for intervals of {level_text(LEVEL)}: these promise "
                f"{level_text(known.level)}, n / (n + 1) of n errors"
            )
        for row in table.to_dict("records"):
            named = {str(key): value for key, value in row.items()}
            said += [
                f"{row['entry']} is unlike what was calibrated on: {text}" for text in known.unlike(named)
            ]
    return said


def _print(table: pd.DataFrame, known: Calibration | None, warnings: Sequence[str]) -> None:
    for kind, rows in table.groupby("kind", sort=False):
        width = max(len(entry) for entry in rows["entry"])
        console.print(f"\n{TITLES[Kind(str(kind))]}", markup=False)
        for row in rows.to_dict("records"):
            threshold = f"threshold {row['threshold']:.2f}  " if row["threshold"] == row["threshold"] else ""
            predicted = ""
            if known is not None:
                low, high = 100 * row["low"], 100 * row["high"]
                predicted = f"predicted mIoU {100 * row['predicted']:5.1f} %  [{low:.1f}, {high:.1f}]"
            console.print(
                f"{row['rank']:>3}  {row['entry']:<{width}}  {threshold}{predicted}".rstrip(), markup=False
            )
    if known is not None:
        console.print(f"\nIntervals of {level_text(known.level)}. {_past(known)}", markup=False)
    for text in warnings:
        console.print(f"Warning: {text}", style="yellow", markup=False)


def _past(known: Calibration) -> str:
    """What the choices were worth where masks could tell: a line on what was left out of the calibration."""
    left_out = "data sets" if known.left_out == "data" else "methods"

    def mean(name: str) -> float | None:
        values = [row[name] for row in known.evaluation if row.get(name) is not None]
        return sum(values) / len(values) if values else None

    told = [
        ("thresholds lost {:.1f} points", mean("threshold: model")),
        ("a common .5 lost {:.1f}", mean("threshold: common")),
        ("the method ranked first lost {:.1f}", mean("method: model")),
        ("Kendall's tau {:.2f}", mean("tau")),
        (f"intervals of {level_text(mean('level') or known.level)} covered {{:.0%}}", mean("coverage")),
    ]
    said = ", ".join(text.format(value) for text, value in told if value is not None)
    names = ", ".join(sorted({str(source["data"]) for source in known.sources}))
    return f"On left-out {left_out} ({names}): {said}; errors within a data set depend on each other."


def _print_evaluation(measured: pd.DataFrame, fitted: Calibration) -> None:
    from benchmark.selection.evaluate import RULES

    left_out = "data set" if fitted.left_out == "data" else "method"
    for row in measured.to_dict("records"):
        console.print(
            f"\n{row['run']}, {row['kind']}: {row['units']} artifacts of {row['entries']} entries, "
            f"each predicted without its {left_out}",
            markup=False,
        )
        lines: list[tuple[str, Any]] = [
            (f"points lost by the threshold, {rule}", row.get(f"threshold: {rule}")) for rule in RULES
        ]
        lines += [
            ("points lost by the method ranked first", row["method: model"]),
            ("points lost by a method at random", row["method: random"]),
            ("Kendall's tau of the ranking", row["tau"]),
            (f"intervals of {level_text(row['level'])} that cover", 100 * row["coverage"]),
            ("mean width of the intervals, points", row["width"]),
        ]
        for name, value in lines:
            if value is not None and value == value:
                console.print(f"  {name:<45} {value:6.2f}", markup=False)
