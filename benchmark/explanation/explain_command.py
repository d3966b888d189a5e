"""The command `explain`: where the difference between two methods' scores comes from."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.commands.arguments import DatasetName, Device, Protocol, Scale, parse_seeds, run_folder
from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_file, check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.execution.runner import RunResult
    from benchmark.explanation.cells import Side
    from benchmark.explanation.ledger import Changed, Share
    from benchmark.planning.plan import Plan

FOLDER = "explanations"
"""In a run's folder."""


def explain(
    first: Annotated[
        str,
        typer.Argument(help="A method; with a refiner and a network: METHOD:REFINER:SEGMENTER.", metavar="A"),
    ],
    second: Annotated[
        str, typer.Argument(help="The other, likewise: what it gains over A is split.", metavar="B")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings as key=value.", show_default=False)
    ] = None,
    score: Annotated[
        str, typer.Option(help="Whose mIoU: segmentation, pseudo_label, or cam.")
    ] = "segmentation",
    dataset: DatasetName = None,
    scale: Scale = "nano",
    protocol: Protocol = "paper",
    seeds: Annotated[
        str, typer.Option(help="Comma-separated; with several, intervals are over them too.")
    ] = "0",
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="JSON file of the ledger.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs and their cost, do nothing.")
    ] = False,
) -> None:
    """Split what B gains over A among the things that differ, by the runs in between; what is stored is not run again."""
    from benchmark.commands.dry_run import print_plan
    from benchmark.execution.runner import Runner
    from benchmark.explanation.cells import OF_STAGE, differences, jobs, read_side, sets
    from benchmark.planning.plan import plan_jobs

    choose("--score", score, list(OF_STAGE))
    numbers = parse_seeds(seeds)
    settings = [f"runtime.device={device}", *(overrides or [])]
    a, b = (read_side(text, dataset, scale, protocol, settings) for text in (first, second))
    _check_overrides(settings, {a.method, b.method})
    things = differences(a, b, score)
    if not things:
        raise ConfigError(
            f"{first} and {second} do not differ in what the {score} depends on; name two that do"
        )
    chosen = sets(a, b, things)
    plan = plan_jobs(jobs(a, b, chosen, things, score, numbers), fetching=not dry_run)
    for run in plan.runs:
        if run.status != "planned":
            raise ConfigError(f"no run {run.title}: {run.reason}; name methods whose parts can be exchanged")
    console.print(
        f"{second} against {first} differs in: {', '.join(things)}; {len(chosen)} combinations, {len(plan.runs)} runs",
        markup=False,
    )
    if dry_run:
        if not print_plan(plan):
            sys.exit(1)
        return
    place = (
        output
        or run_folder(a.config.dataset, scale, protocol) / FOLDER / f"{_file(first)}-{_file(second)}.json"
    )
    check_file(place, "--output")
    if any(artifact is None for _, artifact in plan.artifacts()):
        check_writable(Path(plan.config.runtime.store), "runtime.store")
    runner = Runner(plan)
    runner.follow_pace()
    results = runner.run()
    if failed := [r for r in results if r.status != "done"]:
        raise ConfigError(f"{failed[0].run.title}: {failed[0].reason}")
    found = _ledger(plan, results, chosen, things, score, numbers)
    _print(found, a, b, score, len(numbers))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(_document(found, a, b, score, numbers), indent=1, allow_nan=False) + "\n")
    console.print(f"\nLedger: {place}", markup=False)


def _check_overrides(settings: Sequence[str], methods: set[str]) -> None:
    for setting in settings:
        if setting.startswith("method.") and setting.split(".")[1] not in methods:
            raise ConfigError(
                f"{setting}: is of a method that is not compared; there are {', '.join(sorted(methods))}"
            )


def _ledger(
    plan: Plan,
    results: Sequence[RunResult],
    chosen: Sequence[Changed],
    things: Sequence[str],
    score: str,
    seeds: Sequence[int],
) -> list[Share]:
    """Results are in the plan's order: for each set, a run of each seed."""
    from benchmark.evaluation.bootstrap import resample
    from benchmark.evaluation.counts import Counts
    from benchmark.explanation.ledger import shares
    from datasets.base import DataError

    values: dict[Any, dict[int, float]] = {changed: {} for changed in chosen}
    resampled: dict[Any, dict[int, Any]] = {changed: {} for changed in chosen}
    known: dict[str, Any] = {}
    for n, result in enumerate(results):
        changed, seed = chosen[n // len(seeds)], seeds[n % len(seeds)]
        row, planned = next(
            (
                (row, planned)
                for planned, rows in result.scores
                for row in rows
                if (row["stage"], row["metric"], row["class_name"]) == (score, "miou", "")
                and row["variant"] in ("", "fixed")
            ),
            (None, None),
        )
        if row is None or planned is None or planned.score_key is None:
            raise DataError(
                f"{result.run.title}: has no mIoU of {score}; the split needs masks, a CAM a threshold"
            )
        values[changed][seed] = row["value"]
        if planned.score_key not in known:
            counts = Counts.read(plan.store.path(planned.score_name, planned.score_key) / "counts.parquet")
            known[planned.score_key] = resample(
                counts, row["threshold"] if counts.bin is not None else None
            ).miou
        resampled[changed][seed] = known[planned.score_key]
    return shares(things, values, resampled)


def _print(found: Sequence[Share], a: Side, b: Side, score: str, seeds: int) -> None:
    from benchmark.explanation.cells import WORDS

    *parts, whole = found
    over = "images and seeds" if seeds > 1 else "images alone: one seed says nothing of the spread over seeds"
    lines = ["", f"mIoU of the {score}, points of {b.name} over {a.name} (95 % interval over {over})", ""]
    width = max(len(WORDS[each.name]) for each in parts)
    for each in sorted(parts, key=lambda s: -abs(s.gain)):
        interval = f"[{100 * each.low:+.2f}, {100 * each.high:+.2f}]"
        order = (
            f"by order {100 * each.least:+.2f} to {100 * each.most:+.2f}"
            if each.most - each.least > 5e-5
            else ""
        )
        lines.append(f"{WORDS[each.name]:<{width}}  {100 * each.gain:+6.2f}  {interval:<17} {order}".rstrip())
    lines.append(
        f"{'together':<{width}}  {100 * whole.gain:+6.2f}  [{100 * whole.low:+.2f}, {100 * whole.high:+.2f}]"
    )
    if any(each.most - each.least > 5e-5 for each in parts):
        lines += [
            "",
            "by order: its gain depends on what is changed before it; the share is the mean over the orders.",
        ]
    console.print("\n".join(lines), markup=False)


def _document(found: Sequence[Share], a: Side, b: Side, score: str, seeds: Sequence[int]) -> dict[str, Any]:
    """The ledger as JSON; fractions."""
    rows = [{key: value if value == value else None for key, value in asdict(each).items()} for each in found]
    return {
        "from": a.name,
        "to": b.name,
        "score": score,
        "seeds": list(seeds),
        "interval": "images and seeds" if len(seeds) > 1 else "images only",
        "shares": rows[:-1],
        "whole": rows[-1],
    }


def _file(name: str) -> str:
    return name.replace(":", "+")
