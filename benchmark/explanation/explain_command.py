"""The command `explain`: where the difference between two methods' scores comes from."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.commands.arguments import DatasetName, Device, Protocol, Scale, parse_seeds, run_folder
from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_file, check_writable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmark.execution.runner import RunResult
    from benchmark.explanation.cells import Side
    from benchmark.explanation.ledger import Changed
    from benchmark.planning.plan import Plan
    from results.explanations import Condition, Ledger
    from results.reported import ReportedNumber

    Values = Mapping[Changed, dict[int, float]]
    Resamples = Mapping[Changed, dict[int, Any]]


def explain(
    first: Annotated[
        str,
        typer.Argument(help="A method; with a refiner and a network: METHOD:REFINER:SEGMENTER.", metavar="A"),
    ],
    second: Annotated[
        str,
        typer.Argument(
            help="The other, likewise: what it gains over A is split. Or a number that a paper prints: `paper`, or "
            "'paper:PAPER/TABLE/ROW'.",
            metavar="B",
        ),
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
    from benchmark.explanation.paper import conditions, is_paper, paper_side, printed_number
    from benchmark.planning.plan import plan_jobs
    from results.changes import is_place
    from results.explanations import FOLDER, write_ledger

    choose("--score", score, list(OF_STAGE))
    numbers = parse_seeds(seeds)
    settings = [f"runtime.device={device}", *(overrides or [])]
    a = read_side(first, dataset, scale, protocol, settings)
    number = printed_number(a, second, score) if is_paper(second) else None
    b = read_side(second, dataset, scale, protocol, settings) if number is None else paper_side(a, number)
    _check_overrides(settings, {a.method, b.method})
    things = differences(a, b, score)
    if not things and number is None:
        raise ConfigError(
            f"{first} and {second} do not differ in what the {score} depends on; name two that do"
        )
    chosen = sets(a, b, things)
    plan = plan_jobs(jobs(a, b, chosen, things, score, numbers), fetching=not dry_run)
    for run in plan.runs:
        if run.status != "planned":
            raise ConfigError(f"no run {run.title}: {run.reason}; name methods whose parts can be exchanged")
    compared = () if number is None else tuple(conditions(a, b, number, things, numbers))
    console.print(
        f"{b.name} against {first} differs in: {', '.join(things) or 'nothing that can be exchanged here'}; "
        f"{len(chosen)} combinations, {len(plan.runs)} runs",
        markup=False,
    )
    if elsewhere := [c.what for c in compared if c.name not in (*things, "seeds")]:
        console.print(f"not run here: {'; '.join(elsewhere)}", markup=False)
    if dry_run:
        if not print_plan(plan):
            sys.exit(1)
        return
    given = tuple(
        s for s in overrides or [] if not s.startswith("runtime.") and not is_place(s, a.config.dataset.name)
    )
    more = f"-{sha256(' '.join(sorted(given)).encode()).hexdigest()[:8]}" if given else ""
    named = f"{_file(first)}-{_file(second)}-{score}{more}.json"
    place = output or run_folder(a.config.dataset, scale, protocol) / FOLDER / named
    check_file(place, "--output")
    if any(artifact is None for _, artifact in plan.artifacts()):
        check_writable(Path(plan.config.runtime.store), "runtime.store")
    runner = Runner(plan)
    runner.follow_pace()
    results = runner.run()
    if failed := [r for r in results if r.status != "done"]:
        raise ConfigError(f"{failed[0].run.title}: {failed[0].reason}")
    values, resampled = _scores(plan, results, chosen, score, numbers)
    found = replace(ledger(a, b, score, things, values, resampled, number, compared), settings=given)
    _print(found)
    write_ledger(place, found)
    console.print(f"\nLedger: {place}", markup=False)


def _check_overrides(settings: Sequence[str], methods: set[str]) -> None:
    for setting in settings:
        if setting.startswith("method.") and setting.split(".")[1] not in methods:
            raise ConfigError(
                f"{setting}: is of a method that is not compared; there are {', '.join(sorted(methods))}"
            )


def _scores(
    plan: Plan, results: Sequence[RunResult], chosen: Sequence[Changed], score: str, seeds: Sequence[int]
) -> tuple[Values, Resamples]:
    """Results are in the plan's order: for each set, a run of each seed. Raises DataError."""
    from benchmark.evaluation.bootstrap import resample
    from benchmark.evaluation.counts import Counts
    from datasets.base import DataError

    values: Values = {changed: {} for changed in chosen}
    resampled: Resamples = {changed: {} for changed in chosen}
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
    return values, resampled


def ledger(
    a: Side,
    b: Side,
    score: str,
    things: Sequence[str],
    values: Values,
    resampled: Resamples,
    number: ReportedNumber | None = None,
    compared: tuple[Condition, ...] = (),
) -> Ledger:
    """The shares of things in what b gains over a; of a printed number, what these leave of it is the last share.

    values, resampled: as `benchmark.explanation.ledger.shares` takes them; number, compared: of a paper's row
    """
    import numpy as np

    from benchmark.explanation.cells import WORDS
    from benchmark.explanation.ledger import shares
    from benchmark.explanation.paper import REST, REST_WORDS
    from results.explanations import Ledger

    names, last = list(things), frozenset(things)
    if number is not None:
        names, last = [*names, REST], last | {REST}
        known = resampled[frozenset(things)]
        values = {**values, last: dict.fromkeys(known, number.value)}
        resampled = {
            **resampled,
            last: {seed: np.full_like(each, number.value) for seed, each in known.items()},
        }
    *parts, whole = shares(names, values, resampled)
    words = {**WORDS, REST: REST_WORDS}
    start, end = (float(np.mean(list(values[of].values()))) for of in (frozenset[str](), last))
    return Ledger(
        a.name,
        b.name,
        score,
        a.config.dataset.name,
        a.config.scale.name,
        a.config.protocol.name,
        tuple(values[last]),
        start,
        end,
        tuple(replace(each, what=words[each.name]) for each in parts),
        replace(whole, what="together"),
        compared,
    )


def _print(found: Ledger) -> None:
    if found.conditions:
        _print_paper(found)
        return
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


def _print_paper(found: Ledger) -> None:
    from reports.ledgers import ledger_table

    table = ledger_table("", found)
    rows = [table.heads, *table.rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(table.heads))]
    console.print(f"\n{table.caption}\n", markup=False)
    for row in rows:
        console.print("  ".join(f"{cell:<{n}}" for cell, n in zip(row, widths)).rstrip(), markup=False)


def _file(name: str) -> str:
    """A side as a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name.replace(":", "+"))
