"""The command `run`: methods, or a grid of them with refiners and segmentation networks, or the papers' experiments."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import datasets
from benchmark.commands.arguments import (
    DatasetName,
    Device,
    Overrides,
    Protocol,
    Scale,
    method_names,
    parse_seeds,
    part_names,
    print_board,
    run_folder,
)
from benchmark.config import DEFAULT_DATASET, OWN, SCALES, SMOKE, RunConfig, choose, compose, plain
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_writable

if TYPE_CHECKING:
    from benchmark.experiments.table import Options, Table
    from benchmark.planning.plan import Job

SMOKE_FOLDER = "results/runs/smoke"


def run(
    overrides: Overrides = None,
    methods: Annotated[
        str | None, typer.Option(help="Comma-separated names, `all` (the default) or `every`; see `list`.")
    ] = None,
    refiners: Annotated[
        str | None,
        typer.Option(
            help="A grid: each CAM through each of these, or `all`; own: the protocol's, or the method's."
        ),
    ] = None,
    segmenters: Annotated[
        str | None,
        typer.Option(
            help="A grid: pseudo-labels to each of these networks, or `all`, or own; or smp/<architecture>:<encoder> of "
            "segmentation_models_pytorch, such as smp/segformer:mit_b0."
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="Tables of the papers, METHOD/TABLE (see `list`), or `all`, in place of methods."),
    ] = None,
    dataset: DatasetName = None,
    scale: Scale = "nano",
    protocol: Protocol = "paper",
    seeds: Annotated[str, typer.Option(help="Comma-separated, e.g. 0,1,2.")] = "0",
    device: Device = "auto",
    until: Annotated[str | None, typer.Option(help="Stop after this: cam, pseudo_label, ...")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the records and reports.")] = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help=f"A trial in {SMOKE_FOLDER}: does it run? Its numbers say nothing: {' '.join(SMOKE)}.",
        ),
    ] = False,
    discard_intermediate: Annotated[
        bool,
        typer.Option(
            "--discard-intermediate",
            help="Delete each artifact, but for networks and scores, when all that is made from it is done.",
        ),
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|FILE",
            help="Stages are made by the workers of this Dask scheduler: its address, or the file it writes.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
) -> None:
    """Run methods through every stage, score them and write the leaderboard. Running again resumes."""
    settings = [f"runtime.device={device}", *(SMOKE if smoke else ()), *(overrides or [])]
    if scheduler is not None:
        settings.append(f"runtime.scheduler={json.dumps(scheduler, ensure_ascii=False)}")  # as Hydra quotes
    if smoke and output is None:
        output = Path(SMOKE_FOLDER)
    if experiment is not None:
        if discard_intermediate:
            raise ConfigError(
                "--discard-intermediate is of --methods: rows of an experiment share their stages"
            )
        given = {"--methods": methods, "--refiners": refiners, "--segmenters": segmenters, "--until": until}
        for option, value in given.items():
            if value is not None:
                raise ConfigError(f"{option} and --experiment exclude each other: its table says what is run")
        _run_experiments(experiment, dataset, scale, protocol, settings, parse_seeds(seeds), output, dry_run)
        return
    configs = grid(methods or "all", dataset, scale, protocol, settings, refiners or OWN, segmenters or OWN)
    from benchmark.planning.plan import Job

    jobs = [Job(config, parse_seeds(seeds), until) for config in configs]
    if scale == "nano" and not smoke:
        _warn_of_miniatures(configs[0].dataset.name)
    if dry_run:
        _print_plan(jobs)
    else:
        _run_board(jobs, output or run_folder(configs[0].dataset, scale, protocol), discard_intermediate)


def _warn_of_miniatures(dataset: str) -> None:
    """The miniatures' weights are of the project's own pictures: on others a method may find nothing."""
    if datasets.dataset_class(dataset).generated:
        return
    given = zip(sys.argv[1:], sys.argv)
    kept = [each for each, before in given if each not in ("--scale", "--scale=nano") and before != "--scale"]
    console.print(
        "warning: the networks of nano know generated pictures alone and may find nothing in these; for photographs:"
        f" {shlex.join(['wsss', *kept, '--scale', 'small'])}",
        style="yellow",
        markup=False,
    )


def grid(
    methods: str,
    dataset: str | None,
    scale: str,
    protocol: str,
    settings: list[str],
    refiners: str,
    segmenters: str,
) -> list[RunConfig]:
    """One configuration for each pair of a refiner and a segmentation network; raises ConfigError."""
    from methods.refiners.config import REFINERS
    from methods.segmenters.networks import NETWORKS

    names = method_names(methods, scale)
    networks = NETWORKS[scale]
    found: dict[str, RunConfig] = {}  # "own" may be one of the others, too
    for refiner in part_names(refiners, "--refiners", REFINERS):
        for segmenter in part_names(segmenters, "--segmenters", networks):
            config = compose(names, dataset, scale, protocol, settings, refiner=refiner, segmenter=segmenter)
            found.setdefault(repr(plain(config.protocol)), config)
    return list(found.values())


def _run_experiments(
    experiment: str,
    dataset: str | None,
    scale: str,
    protocol: str,
    settings: list[str],
    seeds: list[int],
    output: Path | None,
    dry_run: bool,
) -> None:
    from benchmark.experiments.run import run_experiments
    from benchmark.experiments.summary import write_summary
    from benchmark.experiments.table import all_jobs
    from results.experiments import EXPERIMENTS_FOLDER

    tables, options = _tables(experiment, dataset, scale, protocol, settings, seeds)
    if dry_run:
        if jobs := all_jobs(tables):
            _print_plan(jobs)
        return
    of_data = [setting for setting in settings if setting.startswith("dataset.")]
    data = compose([], options.dataset, scale, protocol, of_data).dataset
    run_dir = output or run_folder(data, scale, protocol)
    failures = run_experiments(tables, options, run_dir / EXPERIMENTS_FOLDER)
    if failures is not None:
        write_summary(run_dir, [table.name for table in tables])
        end(failures)


def _tables(
    experiment: str, dataset: str | None, scale: str, protocol: str, settings: list[str], seeds: list[int]
) -> tuple[list[Table], Options]:
    from benchmark.experiments.rows import find_experiments, make_tables
    from benchmark.experiments.table import Options

    dataset = dataset or DEFAULT_DATASET[choose("scale", scale, SCALES)]
    options = Options(dataset, scale, protocol, seeds, settings)
    return make_tables(find_experiments(experiment), options), options


def jobs_of_experiments(
    experiment: str, dataset: str | None, scale: str, protocol: str, settings: list[str]
) -> list[Job]:
    """What the tables' rows run, with one seed; arguments as `run`'s."""
    from benchmark.experiments.table import all_jobs

    return all_jobs(_tables(experiment, dataset, scale, protocol, settings, [0])[0])


def _print_plan(jobs: list[Job]) -> None:
    from benchmark.commands.dry_run import print_plan
    from benchmark.planning.plan import plan_jobs

    if not print_plan(plan_jobs(jobs, fetching=False)):
        sys.exit(1)


def _run_board(jobs: list[Job], run_dir: Path, discard: bool) -> None:
    from benchmark.execution.discarding import Discards
    from benchmark.execution.distributed import form_team
    from benchmark.execution.runner import Runner, plan_in_team
    from benchmark.prediction.networks import announce
    from benchmark.run_folder.drawing import keep_pictures
    from benchmark.run_folder.leaderboard import GrowingBoard
    from results.merge import earlier_run

    runtime = jobs[0].config.runtime
    team = form_team(runtime)
    if team is None or team.leads:  # said now, not after hours
        check_writable(run_dir, "--output")
        refused = _not_writable(Path(runtime.store))
        if refused and (team or not (Path(runtime.store) / "artifacts").is_dir()):
            raise refused
        earlier_run(run_dir)
    if (plan := plan_in_team(jobs, team)) is None:
        return
    if refused and any(artifact is None for _, artifact in plan.artifacts()):
        raise refused
    discards = Discards(plan, run_dir, partial(keep_pictures, plan)) if discard else None
    runner = Runner(plan, team, run_dir, discards)
    runner.follow_pace()
    with GrowingBoard(runner, run_dir) as board:
        results = runner.run(board.add)
    print_board(run_dir)
    console.print(f"\nReport: {board.reports['html']}", markup=False)
    announce(results, run_dir)
    failures = [f"{r.run.title.replace(' · ', ' ')}: {r.reason}" for r in results if r.status == "failed"]
    end(failures + runner.reference_failures)


def _not_writable(store: Path) -> ConfigError | None:
    """Why nothing can be stored. A store that holds everything may be read-only."""
    try:
        check_writable(store, "runtime.store")
    except ConfigError as error:
        return error
    return None


def end(failures: list[str]) -> None:
    """Say what has failed, a line each, and exit with 1 if anything has."""
    for failure in failures:
        console.print(f"failed: {failure}", markup=False)
    if failures:
        sys.exit(1)
