"""`prefetch`: everything that runs would download, on a machine with a network, for machines without one."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.commands.arguments import DatasetName, Overrides, Protocol, Scale
from benchmark.commands.run import grid, jobs_of_experiments
from benchmark.config import OWN
from benchmark.console import console, size
from benchmark.failures import ConfigError
from benchmark.folders import check_writable
from methods.base import MethodError

if TYPE_CHECKING:
    from benchmark.planning.plan import Job, PlannedRun


def prefetch(
    overrides: Overrides = None,
    methods: Annotated[str | None, typer.Option(help="As `run`'s.")] = None,
    refiners: Annotated[str | None, typer.Option(help="As `run`'s.")] = None,
    segmenters: Annotated[str | None, typer.Option(help="As `run`'s.")] = None,
    experiment: Annotated[str | None, typer.Option(help="As `run`'s, in place of methods.")] = None,
    dataset: DatasetName = None,
    scale: Scale = "nano",
    protocol: Protocol = "paper",
    into: Annotated[
        Path | None, typer.Option(help="Also copy the files here, for machines that share no home folder.")
    ] = None,
) -> None:
    """Download and check every weight that `run` with the same arguments would start from, and draw generated data."""
    from benchmark.planning.plan import Job, plan_jobs
    from methods.layers.weights.hubs import fetch_tokenizer

    if into is not None:
        check_writable(into, "--into")
    settings = overrides or []
    if experiment is not None:
        if methods or refiners or segmenters:
            raise ConfigError(
                "--experiment excludes --methods, --refiners and --segmenters: its table says them"
            )
        jobs: list[Job] = jobs_of_experiments(experiment, dataset, scale, protocol, settings)
    else:
        configs = grid(
            methods or "all", dataset, scale, protocol, settings, refiners or OWN, segmenters or OWN
        )
        jobs = [Job(config, [0]) for config in configs]
    if not jobs:
        return
    plan = plan_jobs(jobs)
    root = plan.config.runtime.weights_root
    runs = [run for run in plan.runs if run.status == "planned"]
    references = sorted({reference for run in runs for reference in _references(run)})
    total, faults = 0, dict.fromkeys(run.reason for run in plan.runs if run.status == "failed")
    unavailable = set()
    for reference in references:
        try:
            path = _checked(reference, root)
        except MethodError as error:
            faults[str(error)] = None
            unavailable.add(reference)
            continue
        if path is not None:
            total += path.stat().st_size
            console.print(f"ok  {reference}  {size(path.stat().st_size)}  {path}", markup=False)
            if into is not None:
                _copy(reference, path, into)
    for model in sorted({model for run in runs for model in _clips(run)}):
        try:
            fetch_tokenizer(model, into)
        except MethodError as error:
            faults[str(error)] = None
    for run in plan.runs:
        if run.status != "planned":
            console.print(f"{run.title}: {run.status}: {run.reason}", markup=False)
    if into is not None:
        console.print(
            f"On the other machines: export WSSS_WEIGHTS={shlex.quote(str(into.absolute()))}", markup=False
        )
    here = sum(unavailable.isdisjoint(_references(run)) for run in runs)
    if faults:
        for fault in faults:
            console.print(f"missing: {fault}", markup=False)
        sys.exit(1)
    console.print(f"All weights of {here} runs are here: {size(total)}", markup=False)


def _references(run: PlannedRun) -> set[str]:
    """Of the weights that a run starts from."""
    return {reference for planned in run.stages for reference in planned.weights}


def _clips(run: PlannedRun) -> set[str]:
    """open_clip's models that a run uses, whose tokenizers it needs wherever their weights come from."""
    from benchmark.planning.weights import settings_parts
    from methods.layers.clip.config import NANO, OPEN_CLIP, ClipConfig

    served = (r.removeprefix(OPEN_CLIP) for r in _references(run) if r.startswith(OPEN_CLIP))
    parts = (part for planned in run.stages for part in settings_parts(planned.stage.settings))
    named = {part.name for part in parts if isinstance(part, ClipConfig) and part.name != NANO}
    return named | {name.partition(".")[0] for name in served}


def _checked(reference: str, root: str | Path | None) -> Path | None:
    """The file of a reference, of which all is read; None for random initialisation. Raises MethodError."""
    from methods.layers.weights.files import load_state, locate

    path = locate(reference, root)
    if path is not None and path.suffix != ".onnx":  # rembg's, whose content it checks itself
        load_state(path)
    return path


def _copy(reference: str, path: Path, folder: Path) -> None:
    """To where it is found with `folder` as the folder of weights; not what ships with the project, nor paths."""
    from methods.layers.weights.files import candidates

    family = reference.partition("/")[0]
    if family == "nano" or path.name not in map(os.path.basename, candidates(reference)):
        return
    target = folder / family / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    shutil.copyfile(path, temporary)
    temporary.replace(target)
