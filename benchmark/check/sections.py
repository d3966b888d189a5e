"""The steps of `check` on one kind of device and one tier: compare with what is recorded, or record."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch

from benchmark import provenance
from benchmark.check.compare import (
    SPREAD_TIER,
    WEIGHTS_TIER,
    Difference,
    compare,
    of_one_thread,
    require_spread,
    unrecorded,
)
from benchmark.check.reference import Baseline, Reference, Run, Values, section, shared_settings, tier_of
from benchmark.check.tiers import NO_REFERENCE, SEED, Outcome, apply_weights, train_briefly
from benchmark.config import RunConfig, plain
from benchmark.failures import ConfigError
from benchmark.planning.changes import differences
from datasets.files.cores import usable_cores


@dataclass
class Section:
    """What one tier found on one kind of device.

    outcomes:    method -> what became of it
    differences: method -> every compared number; when recording, the former number beside the new one
    notes:       what a reader should know, one line each
    """

    device: str
    tier: int
    seconds: float = 0.0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    differences: dict[str, list[Difference]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def compared(self) -> int:
        return sum(len(found) for found in self.differences.values())

    @property
    def failures(self) -> list[str]:
        """Methods that did not give their numbers although there is something to compare them with."""
        return [name for name, outcome in self.outcomes.items() if outcome.status in ("failed", "not run")]

    @property
    def failing(self) -> list[tuple[str, Difference]]:
        """(method, number) where a number differs by more than its tolerance, the largest excess first."""
        found = [(method, d) for method, each in self.differences.items() for d in each if d.fails]
        return sorted(found, key=lambda pair: -pair[1].excess)


def compare_section(config: RunConfig, reference: Reference, device: str, tier: int) -> Section:
    """Measure what is recorded for this device and tier, and compare."""
    began = time.perf_counter()
    baselines = reference.baselines.get(section(device, tier), {})
    found = Section(device, tier)
    known = [name for name in config.method if name in baselines]
    for name in config.method:
        if name not in baselines:
            found.outcomes[name] = Outcome(NO_REFERENCE, "nothing is recorded; check --update records it")
    if known:
        with _under(_Condition(SEED, 1)) if (device, tier) == ("cpu", SPREAD_TIER) else nullcontext():
            found.outcomes |= measure(_only(config, known), reference, device, tier)
    for name in known:
        if found.outcomes[name].status == NO_REFERENCE:  # of weights, although numbers are recorded
            found.outcomes[name] = replace(found.outcomes[name], status="failed")
        changed = differences(plain(config.method[name]), baselines[name].settings)
        if changed:
            found.notes.append(f"{name}: settings changed since: now {', '.join(changed)}")
        if found.outcomes[name].status == "done":
            values, runs = found.outcomes[name].values, baselines[name].runs
            if tier == SPREAD_TIER:
                runs = of_one_thread(runs)
                require_spread(runs, SEED)
            found.differences[name] = compare(runs, values, tier, SEED)
            if new := unrecorded(runs, values):
                found.notes.append(f"{name}: {len(new)} numbers are not recorded, {new[0]} first")
    found.seconds = time.perf_counter() - began
    return found


def refresh(config: RunConfig, reference: Reference, sections: Sequence[Section]) -> list[str]:
    """Record today's settings beside the numbers that were compared, which stay; returns what changed, a line each.

    Raises ConfigError, and changes nothing, where a method did not give its numbers or one differs.
    """
    for found in sections:
        if bad := [*found.failures, *(name for name, _ in found.failing)]:
            where = section(found.device, found.tier)
            raise ConfigError(f"{bad[0]} does not give the numbers recorded of {where}; use check --update")
    said: dict[str, None] = {}
    for found in sections:
        for name in found.differences:
            baseline = reference.baselines[section(found.device, found.tier)][name]
            now, before = plain(config.method[name]), baseline.settings
            said |= dict.fromkeys(f"method.{name}.{change} added" for change in differences(now, before))
            said |= dict.fromkeys(f"method.{name}.{change} removed" for change in differences(before, now))
            baseline.settings = now
    reference.configuration = shared_settings(config)
    return list(said)


def record_section(
    config: RunConfig, reference: Reference, device: str, tier: int, seeds: Sequence[int], *, adding: bool
) -> Section:
    """Measure under every condition of the tier and record: in place of what there is, or adding to it.

    seeds: those of tier 2; it runs each on one thread and on several (on a GPU, with algorithms that always give the
           same numbers and with any)
    Raises ConfigError where runs would be added to those of other settings.
    """
    began = time.perf_counter()
    found = Section(device, tier)
    before = reference.baselines.get(section(device, tier), {})
    made: dict[str, Baseline] = {}
    for name, settings in config.method.items():
        made[name] = Baseline(plain(settings), [])
        if adding and name in before:
            if changed := differences(plain(settings), before[name].settings):
                raise ConfigError(
                    f"{name}: recorded with other settings ({', '.join(changed)} now); use --update"
                )
            made[name].runs = list(before[name].runs)
    for each in _conditions(device, tier, seeds):
        with _under(each):
            for name, outcome in measure(each.applied(config), reference, device, tier, each.seed).items():
                if outcome.status == "done":
                    made[name].add(_run(device, each, outcome.values))
                if found.outcomes.get(name, outcome).status == "done" or name not in found.outcomes:
                    found.outcomes[name] = outcome
    whole = [name for name, outcome in found.outcomes.items() if outcome.status == "done"]
    for name in whole:
        if name in before:
            if not adding:
                found.notes += _dropped(name, before[name].runs, made[name].runs)
            own = [run for run in made[name].runs if run.seed == SEED]
            if own and any(run.seed == SEED for run in before[name].runs):
                found.differences[name] = compare(before[name].runs, _mean(own), tier, SEED)
        reference.baselines.setdefault(section(device, tier), {})[name] = made[name]
    found.seconds = time.perf_counter() - began
    return found


def drop_outdated(
    reference: Reference, retrained: Collection[str], sections: Sequence[Section]
) -> dict[str, list[str]]:
    """Remove tier 1's numbers of retrained methods that were not recorded again: they are of the former weights.

    sections: those that were recorded. Returns section -> methods that are gone from it.
    """
    again = {
        (section(s.device, s.tier), method)
        for s in sections
        for method, outcome in s.outcomes.items()
        if outcome.status == "done"
    }
    dropped: dict[str, list[str]] = {}
    for name, recorded in reference.baselines.items():
        if tier_of(name) == WEIGHTS_TIER:
            for method in [m for m in recorded if m in retrained and (name, m) not in again]:
                del recorded[method]
                dropped.setdefault(name, []).append(method)
    return dropped


def measure(
    config: RunConfig, reference: Reference, device: str, tier: int, seed: int = SEED
) -> dict[str, Outcome]:
    config = replace(config, runtime=replace(config.runtime, device=device))
    return train_briefly(config, seed) if tier == SPREAD_TIER else apply_weights(config, reference)


def _only(config: RunConfig, methods: Sequence[str]) -> RunConfig:
    return replace(config, method={name: config.method[name] for name in methods})


@dataclass(frozen=True)
class _Condition:
    """What a run is recorded under; see `Run`. alone: in one process, whose threads are then known."""

    seed: int
    threads: int
    deterministic: bool = True
    alone: bool = False

    def applied(self, config: RunConfig) -> RunConfig:
        """A run's configuration under this condition."""
        runtime = replace(config.runtime, deterministic=self.deterministic)
        return replace(config, runtime=replace(runtime, processes=1) if self.alone else runtime)


def _conditions(device: str, tier: int, seeds: Sequence[int]) -> list[_Condition]:
    """Those of the runs that are recorded; of tier 2, two a seed at least."""
    here = torch.get_num_threads()
    if tier != SPREAD_TIER:
        return [_Condition(SEED, here)]
    if device == "cpu":
        return [_Condition(s, threads, alone=True) for s in seeds for threads in (1, max(2, usable_cores()))]
    return [_Condition(s, here, deterministic) for s in seeds for deterministic in (True, False)]


@contextmanager
def _under(condition: _Condition) -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(condition.threads)
    torch.use_deterministic_algorithms(condition.deterministic, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=True)


def _dropped(name: str, former: Sequence[Run], new: Sequence[Run]) -> list[str]:
    """What to do about runs of other environments that a recording takes the place of; none, nothing."""
    here = {(run.torch, run.hardware) for run in new}
    gone = [run for run in former if (run.torch, run.hardware) not in here]
    if not gone:
        return []
    others = sorted({f"torch {run.torch} on {run.hardware}" for run in gone})
    return [
        f"{name}: {len(gone)} of the runs dropped were of {', '.join(others)}: --measure-spread there adds new ones"
    ]


def _run(device: str, condition: _Condition, values: Values) -> Run:
    hardware = provenance.collect(torch.device(device))["hardware"]
    return Run(
        condition.seed,
        condition.threads,
        torch.__version__,
        provenance.machine(hardware),
        values,
        torch.backends.cpu.get_cpu_capability() if device == "cpu" else "",
        condition.deterministic,
    )


def _mean(runs: Sequence[Run]) -> Values:
    """The mean of every number over the runs; None where one does not have it."""
    found: Values = {}
    for name in runs[0].values:
        numbers = [run.values.get(name) for run in runs]
        there = [number for number in numbers if number is not None]
        found[name] = sum(there) / len(there) if len(there) == len(numbers) else None
    return found
