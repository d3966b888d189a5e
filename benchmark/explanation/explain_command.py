"""The command `explain`: where the difference between two methods' scores comes from."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.commands.arguments import DatasetName, Device, Protocol, Scale, parse_seeds, run_folder
from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_writable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.execution.runner import RunResult
    from benchmark.explanation.cells import Side
    from benchmark.explanation.ledger import Changed
    from benchmark.planning.plan import Plan
    from results.explanations import Ledger


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
    from results.explanations import FOLDER, write_ledger

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
    named = f"{_file(first)}-{_file(second)}-{score}.json"
    place = output or run_folder(a.config.dataset, scale, protocol) / FOLDER / named
    check_writable(place.parent, "--output")
    check_writable(Path(plan.config.runtime.store), "runtime.store")
    runner = Runner(plan)
    runner.follow_pace()
    results = runner.run()
    if failed := [r for r in results if r.status != "done"]:
        raise ConfigError(f"{failed[0].run.title}: {failed[0].reason}")
    found = _ledger(plan, results, chosen, things, a, b, score, numbers)
    _print(found)
    write_ledger(place, found)
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
    a: Side,
    b: Side,
    score: str,
    seeds: Sequence[int],
) -> Ledger:
    """Results are in the plan's order: for each set, a run of each seed."""
    from benchmark.evaluation.bootstrap import resample
    from benchmark.evaluation.counts import Counts
    from benchmark.explanation.cells import WORDS
    from benchmark.explanation.ledger import shares
    from datasets.base import DataError
    from results.explanations import Ledger

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
        if row is None or planned is None or planned.score_key is None or not isfinite(row["value"]):
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
    *parts, whole = shares(things, values, resampled)
    start, end = (sum(values[end].values()) / len(seeds) for end in (frozenset[str](), frozenset(things)))
    return Ledger(
        a.name,
        b.name,
        score,
        a.config.dataset.name,
        a.config.scale.name,
        a.config.protocol.name,
        tuple(seeds),
        float(start),
        float(end),
        tuple(replace(each, what=WORDS[each.name]) for each in parts),
        replace(whole, what="together"),
    )


def _print(found: Ledger) -> None:
    over = found.over + ("" if len(found.seeds) > 1 else ": one seed says nothing of the spread over seeds")
    lines = [
        "",
        f"mIoU of the {found.score}, points of {found.b} over {found.a} (95 % interval over {over})",
        "",
    ]
    width = max(len(each.what) for each in found.shares)
    for each in sorted(found.shares, key=lambda s: -abs(s.gain)):
        interval = f"[{100 * each.low:+.2f}, {100 * each.high:+.2f}]"
        order = ""
        if each.by_order:
            order = "by order {:+.2f} to {:+.2f}".format(*(100 * gain for gain in each.by_order))
        lines.append(f"{each.what:<{width}}  {100 * each.gain:+6.2f}  {interval:<17} {order}".rstrip())
    whole = found.whole
    lines.append(
        f"{whole.what:<{width}}  {100 * whole.gain:+6.2f}  [{100 * whole.low:+.2f}, {100 * whole.high:+.2f}]"
    )
    if any(each.by_order for each in found.shares):
        lines += [
            "",
            "by order: its gain depends on what is changed before it; the share is the mean over the orders.",
        ]
    console.print("\n".join(lines), markup=False)


def _file(name: str) -> str:
    return name.replace(":", "+")
