"""The command `tune`: chooses settings on pictures that are not scored, with the same budget for every method."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.commands.arguments import (
    DatasetName,
    Device,
    Protocol,
    Scale,
    method_names,
    parse_seeds,
    run_folder,
)
from benchmark.config import choose, compose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_writable

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.tuning.pictures import Pictures
    from benchmark.tuning.trials import Trial

FOLDER = "tuning"
"""In a run's folder."""


def tune(
    methods: Annotated[str, typer.Argument(help="Comma-separated names, `all` or `every`; see `list`.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of all trials as key=value.", show_default=False),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="Pictures to choose on: dataset.KEY=VALUE (dataset.seed=1), or held-out, a part of train."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Settings that each method is tried with, its preset among them.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            help='Range of a setting, "method.NAME.KEY=[LOW,HIGH]" or "...=A,B,C"; in place of what the method declares.'
        ),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Try all combinations of values.")] = False,
    thresholds: Annotated[
        bool,
        typer.Option(
            "--thresholds", help="Choose the CAM's background threshold alone; trains each preset once."
        ),
    ] = False,
    score: Annotated[str, typer.Option(help="What is compared: cam, pseudo_label or segmentation.")] = "cam",
    draw: Annotated[int, typer.Option(min=0, help="Seed of the drawn settings.")] = 0,
    dataset: DatasetName = None,
    scale: Scale = "nano",
    protocol: Protocol = "paper",
    seeds: Annotated[str, typer.Option(help="Of the runs; from 100, as those below are reported.")] = "100",
    device: Device = "auto",
    output: Annotated[Path | None, typer.Option(help="Folder of the table of trials.")] = None,
) -> None:
    """Choose settings by mIoU on pictures that are not scored; the same command resumes, and more trials continue."""
    from benchmark.tuning.pictures import HELD_OUT, check_option, pictures
    from benchmark.tuning.table import write
    from benchmark.tuning.trials import FIRST_SEED, SCORES, make_trials, run_trials

    choose("score", score, list(SCORES))
    numbers = parse_seeds(seeds)
    if low := [seed for seed in numbers if seed < FIRST_SEED]:
        raise ConfigError(f"--seeds {low[0]}: seeds below {FIRST_SEED} are of reported results; give others")
    if not on:
        raise ConfigError(
            "--on says which pictures settings are chosen on: --on dataset.seed=1, or --on held-out"
        )
    check_option(on)
    _check_budget(trials, grid, thresholds, over or [], score)
    given, places = list(overrides or []), [] if on == [HELD_OUT] else list(on)
    names = _tunable(method_names(methods, scale), score)

    def composed(chosen: Sequence[str], settings: Sequence[str]) -> RunConfig:
        own = [
            s
            for s in (*given, *places, *settings)
            if not s.startswith("method.") or s.split(".")[1] in chosen
        ]
        return compose(chosen, dataset, scale, protocol, [f"runtime.device={device}", *own])

    config = compose(names, dataset, scale, protocol, [f"runtime.device={device}", *given, *places])
    root = [setting for setting in given if setting.startswith("dataset.root=")]
    board = compose(names, dataset, scale, protocol, root)
    settings = {
        name: [()] if thresholds else settings_to_try(name, config, over or [], grid, trials or 0, draw)
        for name in names
    }
    if unused := [
        text for text in over or [] if text.split(".")[:2] not in [["method", name] for name in names]
    ]:
        raise ConfigError(f"--over {unused[0]!r}: write method.NAME.KEY=..., with one of {', '.join(names)}")
    folder = output or run_folder(config.dataset, scale, protocol) / FOLDER
    check_writable(folder, "--output")
    check_writable(Path(config.runtime.store), "runtime.store")
    chosen_on = pictures(on, config.dataset, board.dataset, config.evaluation.held_out, SCORES[score])
    todo = make_trials(settings, lambda name, more: composed([name], more), numbers, score)
    path = folder / f"{methods.replace(',', '+')}-{'thresholds' if thresholds else score}"
    said = f"mIoU of {score} on {chosen_on.said}, run seeds {', '.join(map(str, numbers))}."
    command = shlex.join(["python", "-m", "benchmark", *sys.argv[1:]])
    if run_trials(todo, score, chosen_on, lambda: write(todo, path, command, said)) is None:
        return
    console.print(f"\n{said}", markup=False)
    for name in names:
        _say(name, [t for t in todo if t.method == name], composed([name], ()), chosen_on)
    console.print(f"Table: {path}.csv, {path}.md", markup=False)
    if any(trial.job is not None and not trial.is_whole for trial in todo):
        sys.exit(1)


def _check_budget(trials: int | None, grid: bool, thresholds: bool, over: Sequence[str], score: str) -> None:
    """ConfigError unless the options say one way to choose settings."""
    from benchmark.tuning.ranges import MOST

    if thresholds and (trials is not None or over or grid or score != "cam"):
        raise ConfigError("--thresholds tries presets alone: leave out --trials, --over, --grid and --score")
    if grid and trials is not None:
        raise ConfigError("--grid tries all combinations; leave out --trials")
    if not grid and not thresholds and (trials is None or trials < 2):
        raise ConfigError(
            f"--trials {trials or ''}: give at least 2, the preset and another; or --grid, or --thresholds"
        )
    if (trials or 0) > MOST:
        raise ConfigError(f"--trials {trials}: give at most {MOST}")


def _tunable(names: Sequence[str], score: str) -> list[str]:
    """Those without methods that learn from masks, which have nothing but a segmentation."""
    from methods.base import Supervision
    from methods.registry import find_method

    found = [
        name
        for name in names
        if score == "segmentation" or Supervision.MASKS not in find_method(name).supervision
    ]
    for name in names:
        if name not in found:
            console.print(f"{name}: learns from masks, so there is nothing to choose", markup=False)
    if not found:
        raise ConfigError("no method is left whose settings could be chosen")
    return found


def settings_to_try(
    name: str, config: RunConfig, over: Sequence[str], grid: bool, trials: int, draw: int
) -> list[tuple[str, ...]]:
    from benchmark.tuning.ranges import every_combination, ranges_of, settings_of_trials
    from methods.registry import find_method

    ranges = ranges_of(find_method(name), config, over)
    for each in ranges:
        for (
            end
        ) in each.ends():  # a misspelt key, or a value that it does not take, is said before anything runs
            compose([name], config.dataset.name, config.scale.name, config.protocol.name, [end])
    return every_combination(ranges) if grid else settings_of_trials(name, ranges, trials, draw)


def _say(name: str, trials: Sequence[Trial], config: RunConfig, chosen_on: Pictures) -> None:
    """The best settings of a method as overrides, beside its preset."""
    from benchmark.tuning.table import number, percent
    from benchmark.tuning.trials import threshold_keys

    whole = [trial for trial in trials if trial.is_whole]
    for trial in trials:
        if trial.reason:
            console.print(f"{name}: trial {trial.number}: {trial.reason}", markup=False)
    if not whole:
        return
    best = max(whole, key=lambda trial: trial.score)
    preset = trials[0]
    keys = threshold_keys(config, name, chosen_on) if best.best_threshold is not None else []
    found = [*best.settings, *(f"{key}={number(best.best_threshold)}" for key in keys)]
    if len(trials) == 1:
        own = preset.fixed_threshold
        was = f"{percent(preset.at(own))} at its own threshold {number(own)}, " if own is not None else ""
        console.print(f"{name}: {was}{percent(best.score)} at {number(best.best_threshold)}", markup=False)
    else:
        console.print(
            f"{name}: preset {percent(preset.score)}, best of {len(whole)} trials {percent(best.score)} (trial "
            f"{best.number}); the best of many is better by chance, too: run it with other seeds",
            markup=False,
        )
    console.print(f"  {' '.join(map(shlex.quote, found)) or 'the preset'}", markup=False)
