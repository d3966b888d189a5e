"""The command line: an application whose commands are here and in `benchmark.commands`."""

from __future__ import annotations

import math
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from benchmark.bundles.command import bundle, site, verify
from benchmark.check.command import check
from benchmark.commands import prepare as cli_data
from benchmark.commands.arguments import (
    DatasetName,
    Device,
    Methods,
    Overrides,
    Protocol,
    Scale,
    method_names,
    print_board,
    require_values,
    run_folder,
)
from benchmark.commands.export import export
from benchmark.commands.field import field
from benchmark.commands.polygons import polygons
from benchmark.commands.predict import predict
from benchmark.commands.prefetch import prefetch
from benchmark.commands.prune import prune
from benchmark.commands.record_times import record_times
from benchmark.commands.run import run
from benchmark.commands.tune import tune
from benchmark.config import DEFAULT_DATASET, PROTOCOLS, SCALES
from benchmark.console import console, on_one_line
from benchmark.explanation.command import audit
from benchmark.explanation.explain_command import explain
from benchmark.external.command import evaluate
from benchmark.failures import ConfigError, one_line
from benchmark.folders import check_writable
from benchmark.provenance import release
from benchmark.selection.budget_command import budget
from benchmark.selection.command import calibrate, select
from benchmark.stopping import stoppable, was_told
from benchmark.store import disk_is_full
from datasets.base import DataError
from methods.base import MethodError
from reports import DEFAULT_FORMATS, FORMATS

app = typer.Typer(
    name="benchmark",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and an exit code."""
    with stoppable():
        _run()


def _run() -> None:
    try:
        require_values(sys.argv[1:])
        app(standalone_mode=True)
    except Exception as error:
        if was_told():
            raise
        if isinstance(error, (ConfigError, DataError, MethodError)):
            fail(str(error))
        if disk_is_full(error):
            fail("the disk is full; free some space and run the same command again: it resumes")
        if not isinstance(error, OSError):
            raise
        fail(one_line(error, Path.cwd()))


def fail(message: str) -> None:
    """Print one line on stderr and exit with 2."""
    print(f"error: {on_one_line(message)}", file=sys.stderr)
    sys.exit(2)


def show_version(wanted: bool) -> None:
    """Print the installed version and stop, where it is wanted."""
    if wanted:
        print(release())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Reproducible comparison of weakly supervised semantic segmentation methods."""


app.command()(run)


@app.command()
def profile(
    overrides: Overrides = None,
    methods: Methods = "all",
    dataset: DatasetName = None,
    scale: Scale = "nano",
    protocol: Protocol = "paper",
    device: Device = "auto",
    counts_only: Annotated[
        bool, typer.Option("--counts-only", help="MACs and parameters; measure nothing.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="Least time for the repeats of one measurement.")] = 0.2,
    limit: Annotated[float, typer.Option(help="Seconds of a pass from which on it is not timed.")] = 30.0,
    output: Annotated[Path | None, typer.Option(help="Folder of the run that it is written into.")] = None,
) -> None:
    """Count and measure every method's networks: MACs, parameters, images a second, memory. Needs no training."""
    from benchmark.config import compose
    from benchmark.profiling.profile import Options, write_profile
    from benchmark.profiling.profile import profile as measure
    from benchmark.profiling.table import print_profile

    if not (0 < seconds < math.inf and 0 < limit < math.inf):
        raise ConfigError(f"--seconds {seconds:g} --limit {limit:g}: both must be more than 0, and finite")
    names = method_names(methods, scale)
    config = compose(names, dataset, scale, protocol, [f"runtime.device={device}", *(overrides or [])])
    place = output or run_folder(config.dataset, scale, protocol)
    check_writable(place, "--output")
    found = measure(config, Options(counts_only, seconds, limit))
    folder = write_profile(found, place)
    print_profile(folder, names)
    console.print(f"Records: {folder}", markup=False)
    if any(run.status == "failed" for run in found.runs):
        sys.exit(1)


@app.command("list")
def list_(
    settings: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD", help="Instead: a method's settings, with type, range, defaults and meaning."
        ),
    ] = None,
) -> None:
    """List methods, data sets, scales and protocols: one line each, and what each needs."""
    if settings is not None:
        from benchmark.commands.settings import print_settings

        print_settings(settings)
        return
    import datasets
    from methods.refiners.config import REFINER_SUMMARIES
    from methods.registry import all_experiments, all_methods, broken_methods
    from methods.segmenters.networks import NETWORKS, SMP_NAME

    def section(title: str, rows: list[tuple[str, str, str]]) -> None:
        console.print(f"\n[bold]{title}[/bold]")
        width = max(len(name) for name, _, _ in rows)
        for name, summary, needs in rows:
            console.print(f"  {name:<{width}}  {summary}" + (f" [dim]· needs {needs}[/dim]" if needs else ""))

    section(
        "Methods (* in --methods all; --methods every: all of these)",
        [(f"{m.name}{' *' if m.default else ''}", m.summary, m.needs) for m in all_methods().values()],
    )
    for reason in broken_methods().values():
        console.print(f"  broken: {reason}", style="red", markup=False)
    section(
        "Data sets", [(c.name, c.summary, c.needs) for c in map(datasets.dataset_class, datasets.names())]
    )
    experiments, faulty = all_experiments()
    section(
        "Experiments (run --experiment)",
        [(name, experiment.title, "") for name, (_, experiment) in experiments.items()],
    )
    for reason in faulty.values():
        console.print(f"  broken: {reason}", style="red", markup=False)
    section("Refiners (--refiners)", [(n, s, "") for n, s in REFINER_SUMMARIES.items()])
    section(
        "Segmentation networks by scale (--segmenters)",
        [(scale, ", ".join([*NETWORKS[scale], SMP_NAME]), "") for scale in SCALES],
    )
    own = {key for m in all_methods().values() for key in m.presets if key not in SCALES}
    section("Scales", [(n, f"{s} (data set {DEFAULT_DATASET[n]})", "") for n, s in SCALES.items()])
    section(
        "Presets of a data set's own",
        [
            (key, ", ".join(m.name for m in all_methods().values() if key in m.presets), "")
            for key in sorted(own)
        ],
    )
    section("Protocols", [(n, s, "") for n, s in PROTOCOLS.items()])


app.command()(evaluate)
app.command()(audit)
app.command()(explain)
app.command()(select)
app.command()(calibrate)
app.command()(budget)


@app.command()
def doctor(
    overrides: Overrides = None,
    dataset: Annotated[str | None, typer.Option(help="Check this data set only.")] = None,
    hash_: Annotated[
        bool,
        typer.Option(
            "--hash", help="Also list the SHA-256 of its files, in its root: runs say what changes."
        ),
    ] = False,
) -> None:
    """Check the environment, GPU, data and weights; each problem with its remedy."""
    from benchmark.commands.doctor import examine

    if not examine(dataset, overrides or [], hash_):
        sys.exit(1)


app.command()(cli_data.prepare)
app.command()(check)
app.command()(tune)
app.command()(prefetch)
app.command()(prune)
app.command()(field)
app.command()(bundle)
app.command()(verify)
app.command()(site)
app.command()(predict)
app.command()(export)
app.command()(polygons)
app.command(hidden=True)(record_times)


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run, e.g. results/runs/shapes-nano-paper")],
    output: Annotated[Path | None, typer.Option(help="Where to write; default: the run's folder.")] = None,
    formats: Annotated[
        str, typer.Option(help=f"Comma-separated: {', '.join(FORMATS)}, or `all`.")
    ] = ",".join(DEFAULT_FORMATS),
    baseline: Annotated[
        str, typer.Option(help="A method: test differences from it alone, in place of all pairs and ranks.")
    ] = "",
    compare: Annotated[
        Path | None,
        typer.Option(help="Another run's folder: print what changed from it to RUN_DIR, and nothing else."),
    ] = None,
) -> None:
    """Rebuild the reports of a run, or of its experiments; or compare two runs: report --compare RUN_A RUN_B."""
    if compare is not None:
        from reports.markdown import table
        from reports.run_comparison import compare_reports

        changes = compare_reports(compare, run_dir)
        text = "\n".join(table(each, f"{compare} → {run_dir}") for each in changes)
        print(text or f"{compare} and {run_dir}: no difference")
        return
    from reports import build_reports
    from results.experiments import experiments_alone
    from results.io import RUNS_FILE
    from results.merge import run_lock

    if (tables := experiments_alone(run_dir)) is not None:
        from reports.experiments_summary import write_summary

        if output or baseline:
            raise ConfigError(
                "--output and --baseline are of a leaderboard; a folder of experiments has none"
            )
        for path in write_summary(tables):
            console.print(f"{path.suffix[1:]}: {path}", markup=False)
        return
    chosen = list(FORMATS) if formats == "all" else [name.strip() for name in formats.split(",")]
    if (folder := output or run_dir).is_dir() or output:  # a run folder that is not there is said to be none
        check_writable(folder, "--output")
    shared = output is None and (run_dir / RUNS_FILE).is_file()  # a run at work writes there, too
    with run_lock(run_dir) if shared else nullcontext():
        files = build_reports(run_dir, output, chosen, baseline)
    print_board(run_dir, baseline)
    for name, path in files.items():
        console.print(f"{name}: {path}", markup=False)


@app.command()
def pretrain(
    name: Annotated[str, typer.Argument(help="A miniature's name, or `all`.")],
    output: Annotated[
        Path, typer.Option(help="Folder for the weights; the shipped ones stay as they are.")
    ] = Path("results/runs/pretrained"),
) -> None:
    """Train a nano-scale miniature again, with its recorded settings, and compare its score."""
    from methods.miniatures.training import MINIATURES, pretrain, shipped_card

    if name != "all" and name not in MINIATURES:
        raise ConfigError(f"unknown miniature {name!r}; there are {', '.join(MINIATURES)}")
    check_writable(output, "--output")
    for each in MINIATURES if name == "all" else [name]:
        shipped = shipped_card(each)  # before `output` may become the place they are shipped from
        card = pretrain(each, output, lambda text: console.print(text, markup=False))
        beside = f"shipped {shipped['score']:.4f}" if shipped else "none shipped"
        console.print(
            f"{each}: {card['metric']} {card['score']:.4f} on held-out pictures; {beside}", markup=False
        )
