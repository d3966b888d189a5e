"""The command `check`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.commands.arguments import DatasetName, Methods, Protocol, Scale, method_names, parse_seeds
from benchmark.config import choose
from benchmark.console import console
from benchmark.failures import ConfigError
from benchmark.folders import check_file

if TYPE_CHECKING:
    from benchmark.check.reference import Reference
    from benchmark.check.sections import Section
    from benchmark.config import RunConfig
    from datasets.base import Dataset

SUBSET = "dataset.subset=64"
TIERS = {"1": (1,), "2": (2,), "all": (1, 2)}
DEVICES = ("auto", "cpu", "cuda")


def check(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help=f"Settings as key=value; {SUBSET} by default.", show_default=False),
    ] = None,
    methods: Methods = "all",
    dataset: DatasetName = None,
    scale: Scale = "nano",
    protocol: Protocol = "paper",
    device: Annotated[
        str, typer.Option(help="cpu, cuda, or auto: the CPU and, where there is one, the GPU.")
    ] = "auto",
    tier: Annotated[str, typer.Option(help="1: recorded weights; 2: short trainings; all.")] = "all",
    reference: Annotated[
        Path | None, typer.Option(help="File of the recorded numbers; default: results/baselines/...json.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the outcome there as JUnit XML too.")] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Record today's numbers in place of the old ones, and say what changed."
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="After a setting was added: record today's settings where every number agrees, and keep the numbers.",
        ),
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="With --update: train and record tier 1's weights first.")
    ] = False,
    measure_spread: Annotated[
        bool,
        typer.Option(
            "--measure-spread",
            help="Add this environment's runs to tier 2's spread: another torch or processor, say.",
        ),
    ] = False,
    seeds: Annotated[
        str, typer.Option(help="Seeds of tier 2's runs that --update and --measure-spread record.")
    ] = "0,1,2",
) -> None:
    """Compare today's numbers with the recorded ones; exit code 1 if one changed by more than chance."""
    from benchmark.check import reference as stored
    from benchmark.check.compare import SPREAD_TIER
    from benchmark.check.tiers import SEED
    from benchmark.config import compose
    from datasets import open_dataset

    tiers = TIERS[choose("tier", tier, list(TIERS))]
    choose("device", device, DEVICES)
    if train and not update:
        raise ConfigError("--train records new weights, which goes with --update only")
    if update + measure_spread + refresh > 1:
        raise ConfigError(
            "--update records all anew, --measure-spread adds runs, --refresh takes settings only: give one of them"
        )
    if junit is not None and (update or measure_spread or refresh):
        raise ConfigError("--junit reports a comparison; leave it out where numbers are recorded")
    if reference is not None and reference.suffix != ".json":
        raise ConfigError(
            f"--reference {reference}: the name must end in .json; weights go to a folder of that name without .json"
        )
    recording = update or measure_spread
    numbers = parse_seeds(seeds)
    if recording and SPREAD_TIER in tiers and SEED not in numbers and not measure_spread:
        raise ConfigError(f"--seeds {seeds}: seed {SEED} is what check compares; add it")
    given = list(overrides or [])
    if not any(override.startswith("dataset.subset=") for override in given):
        given.append(SUBSET)
    config = compose(method_names(methods, scale), dataset, scale, protocol, given)
    data = open_dataset(config.dataset)
    data.prepare()
    path = reference or stored.default_path(config)
    if recording or refresh:  # said now, not after minutes
        check_file(path, "--reference")
    if junit is not None:
        check_file(junit, "--junit")
    found = stored.load(path)
    faults = found.faults(config, data) if found is not None else ""
    if recording:
        if found is None and measure_spread:
            raise ConfigError(f"--reference {path}: no such file; check --update --train makes it")
        if faults and measure_spread:
            raise ConfigError(f"--reference {path}: {faults}; check --update records it anew")
        found = found or stored.Reference(path)
        devices, chosen = _devices(device), (SPREAD_TIER,) if measure_spread else tiers
        if faults:
            sections = [stored.section(kind, tier) for kind in devices for tier in chosen]
            if others := found.others(config.method, sections):
                raise ConfigError(
                    f"--reference {path}: {faults}; this would drop {'; '.join(others)}: record them too "
                    "(--methods, --tier, --device), or remove the file first"
                )
            console.print(f"{path}: {faults}; all numbers are recorded anew", markup=False)
            found.baselines = {}
        found.configuration, found.data = stored.shared_settings(config), stored.fingerprints(data)
        sys.exit(_record(config, found, devices, chosen, numbers, train, measure_spread))
    if found is None:
        raise ConfigError(f"--reference {path}: no such file; check --update --train makes it")
    devices = _devices(device)
    if refresh:
        _check_refresh(
            config, found, data, [stored.section(kind, tier) for kind in devices for tier in tiers]
        )
    elif faults:
        raise ConfigError(f"--reference {path}: {faults}; give these settings and data, or check --update")
    sys.exit(_compare(config, found, devices, tiers, junit, refresh))


def _check_refresh(config: RunConfig, reference: Reference, data: Dataset, sections: list[str]) -> None:
    """ConfigError where settings cannot be taken over without a number made anew, said before minutes are spent."""
    if content := reference.other_content(data):
        raise ConfigError(f"--refresh: recorded with another content of {', '.join(content)}; use --update")
    if other := reference.other_values(config):
        raise ConfigError(
            f"--refresh takes new settings; {other[0]} was recorded and is another now: use --update"
        )
    if reference.faults(config, data) and (others := reference.others(config.method, sections)):
        raise ConfigError(
            f"--refresh: a setting that all methods share is new, so {'; '.join(others)} have to be compared too "
            "(--methods, --tier, --device)"
        )


def _devices(device: str) -> list[str]:
    import torch

    if device == "auto":
        return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return [device]


def _compare(
    config: RunConfig,
    reference: Reference,
    devices: list[str],
    tiers: tuple[int, ...],
    junit: Path | None,
    refreshing: bool,
) -> int:
    """Exit code: 1 where a number differs, a method fails, or nothing could be compared."""
    from benchmark.check.sections import compare_section, refresh
    from benchmark.check.show import print_section, write_junit

    sections: list[Section] = [
        compare_section(config, reference, device, tier) for device in devices for tier in tiers
    ]
    console.print()
    for section in sections:
        print_section(section, str(reference.path))
    if junit is not None:
        write_junit(sections, junit)
    if not any(section.compared for section in sections):
        console.print("check: nothing was compared", style="red", markup=False)
        return 1
    if refreshing:
        for line in refresh(config, reference, sections) or ["The recorded settings are those of now"]:
            console.print(line, markup=False)
        reference.save()
        console.print(f"Recorded: {reference.path}; no number has changed", markup=False)
    return int(any(section.failing or section.failures for section in sections))


def _record(
    config: RunConfig,
    reference: Reference,
    devices: list[str],
    tiers: tuple[int, ...],
    seeds: list[int],
    train: bool,
    adding: bool,
) -> int:
    from benchmark.check.compare import SPREAD_TIER
    from benchmark.check.reference import section as name_of
    from benchmark.check.sections import drop_outdated, record_section
    from benchmark.check.show import print_recorded, print_spread
    from benchmark.check.tiers import train_weights

    retrained: set[str] = set()
    try:
        if train:
            trained_on = replace(config, runtime=replace(config.runtime, device=devices[0]))
            retrained = train_weights(trained_on, reference)
        sections = [
            record_section(config, reference, device, tier, seeds, adding=adding)
            for device in devices
            for tier in tiers
        ]
        dropped = drop_outdated(reference, retrained, sections)
        reference.save()
    except BaseException:  # an interrupt too
        reference.drop_unsaved_weights()
        raise
    console.print()
    for name, methods in dropped.items():
        console.print(
            f"{name.replace('/', ' · ')}: dropped, made with the former weights: {', '.join(methods)}; "
            "record them with check --update",
            markup=False,
        )
    for section in sections:
        print_recorded(section)
        if section.tier == SPREAD_TIER:
            print_spread(reference.baselines.get(name_of(section.device, section.tier), {}))
    console.print(f"Recorded: {reference.path}", markup=False)
    return int(any(o.status == "failed" for section in sections for o in section.outcomes.values()))
