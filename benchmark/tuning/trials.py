"""Trials of settings: each method with its preset and as many others as every other method, run and scored."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.composing import literal
from benchmark.config import compose, plain
from benchmark.failures import ConfigError
from benchmark.planning.graph import SCORED
from benchmark.planning.plan import Job
from methods.base import Kind
from methods.registry import find_method

if TYPE_CHECKING:
    from benchmark.config import RunConfig
    from benchmark.execution.runner import Runner, RunResult
    from benchmark.planning.plan import PlannedStage
    from benchmark.store import Store
    from benchmark.tuning.pictures import Pictures

SCORES = {"cam": "train", "pseudo_label": "train", "segmentation": "val"}
"""What trials can be scored by -> the split that it is made on. CAMs at the best of all thresholds, which is one of the
settings that are chosen."""
FIRST_SEED = 100
"""Run seeds below are those of reported results."""


@dataclass(frozen=True)
class Scored:
    """mIoU of one run on the pictures that settings are chosen on, in [0, 1].

    values: at each of `thresholds`; of label maps one value, and no thresholds
    fixed:  the background threshold that the run's settings have
    """

    values: tuple[float, ...]
    thresholds: tuple[float, ...] = ()
    fixed: float | None = None


@dataclass
class Trial:
    """Settings that a method is tried with.

    number:   from 0, which is the preset; settings: overrides
    job:      what is run, None where the settings do not go together
    scored:   seed -> score
    reason:   why there is none, "" where there is or it is still to come
    """

    method: str
    number: int
    settings: tuple[str, ...]
    job: Job | None = None
    reason: str = ""
    scored: dict[int, Scored] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def curve(self) -> np.ndarray:
        """Mean over the seeds, (T,), or (1,) of label maps."""
        return np.mean([each.values for each in self.scored.values()], axis=0)

    @property
    def is_whole(self) -> bool:
        """Whether every seed has its score."""
        return self.job is not None and len(self.scored) == len(self.job.seeds)

    @property
    def score(self) -> float:
        """Mean over the seeds, at one threshold for all; NaN while one is missing."""
        return float(np.nanmax(self.curve)) if self.is_whole else float("nan")

    @property
    def best_threshold(self) -> float | None:
        """The lowest of the best ones of CAMs; None of label maps."""
        thresholds = next(iter(self.scored.values())).thresholds if self.is_whole else ()
        return thresholds[int(np.nanargmax(self.curve))] if thresholds else None

    @property
    def fixed_threshold(self) -> float | None:
        """That of its settings."""
        return next((each.fixed for each in self.scored.values()), None)

    def at(self, threshold: float | None) -> float:
        """Mean score at a threshold; NaN where there is none."""
        if threshold is None or not self.is_whole:
            return float("nan")
        thresholds = np.asarray(next(iter(self.scored.values())).thresholds)
        return float(self.curve[int(np.argmin(np.abs(thresholds - threshold)))])

    @property
    def by_seed(self) -> dict[int, float]:
        """Each seed's score, at the threshold that is best over all."""
        best = int(np.nanargmax(self.curve)) if self.is_whole else 0
        return {seed: each.values[best] for seed, each in self.scored.items()} if self.is_whole else {}

    @property
    def deviation(self) -> float:
        """SD over the seeds; NaN for one."""
        values = list(self.by_seed.values())
        return statistics.stdev(values) if len(values) > 1 else float("nan")


def make_trials(
    methods: Mapping[str, Sequence[tuple[str, ...]]],
    composed: Callable[[str, Sequence[str]], RunConfig],
    seeds: Sequence[int],
    score: str,
) -> list[Trial]:
    """One for each method and its settings.

    methods: name -> overrides of each trial; composed: the configuration of a method with overrides
    """
    found = []
    for name, trials in methods.items():
        for number, settings in enumerate(trials):
            trial = Trial(name, number, settings)
            try:
                trial.job = Job(composed(name, settings), seeds, scores=(score,), label=f"trial {number}")
            except ConfigError as error:  # allowed alone and not together
                if not settings:
                    raise
                trial.reason = str(error)
            found.append(trial)
    return found


def run_trials(
    trials: Sequence[Trial], score: str, chosen_on: Pictures, finished: Callable[[], None]
) -> Runner | None:
    """Run what is not stored, scoring each trial as it ends; None in processes under torchrun that do not lead.

    finished: called after each run, and at the end
    """
    from benchmark.execution.distributed import form_team
    from benchmark.execution.runner import Runner, plan_in_team

    jobs = [trial.job for trial in trials if trial.job is not None]
    of_jobs = [trial for trial in trials if trial.job is not None]
    team = form_team(jobs[0].config.runtime)
    if (plan := plan_in_team(jobs, team)) is None:
        return None
    owners = [trial for trial in of_jobs for _ in (trial.job.seeds if trial.job else ())]
    by_cell = {id(run): trial for run, trial in zip(plan.runs, owners, strict=True)}

    def add(result: RunResult) -> None:
        trial = by_cell[id(result.run)]
        if result.status == "done":
            planned = next(p for p, _ in result.scores if p.scored_as == score)
            trial.scored[result.run.seed] = scored(plan.store, planned, chosen_on, sweep_max(result))
            trial.seconds += result.seconds
        else:
            trial.reason = f"seed {result.run.seed} {result.status}: {result.reason}"
        finished()

    runner = Runner(plan, team)
    runner.follow_pace()
    runner.run(add)
    finished()
    return runner


def sweep_max(result: RunResult) -> float:
    return result.run.config.evaluation.sweep_max


def scored(store: Store, planned: PlannedStage, chosen_on: Pictures, highest: float) -> Scored:
    """The score of a finished stage on the pictures, from the counts that its evaluation has left.

    highest: threshold that is looked at
    """
    from benchmark.evaluation.confusion import merge_context
    from benchmark.evaluation.counts import Counts
    from benchmark.evaluation.scores import mean_iou

    counts = Counts.read(store.path(planned.score_name, str(planned.score_key)) / "counts.parquet")
    weights = None
    if chosen_on.ids is not None:
        weights = np.array([image in chosen_on.ids for image in counts.images], np.int64)
    values = mean_iou(merge_context(counts.matrices(weights), len(counts.header.naming.classes)))
    if counts.header.thresholds is None:
        return Scored((float(values),))
    kept = [n for n, threshold in enumerate(counts.header.thresholds) if threshold <= highest + 1e-6]
    thresholds = tuple(round(counts.header.thresholds[n], 4) for n in kept)
    return Scored(tuple(float(values[n]) for n in kept), thresholds, planned.stage.fixed_threshold)


def threshold_keys(config: RunConfig, name: str, chosen_on: Pictures) -> list[str]:
    """Settings of a method that its CAM's fixed background threshold follows, found by changing them."""
    method, view = find_method(name), chosen_on.dataset.training_view()

    def fixed(settings: Any) -> float | None:
        stages = method.stages(settings, view, config.shared)
        cams = [s for s in stages if s.yields == Kind.CAM and (s.scored_as or SCORED[s.yields]) == "cam"]
        return cams[0].fixed_threshold if cams else None

    present = fixed(config.method[name])
    if present is None:
        return []
    others = (present / 2, (present + 1) / 2)
    keys = [f"method.{name}.{key}" for key, value in _numbers(plain(config.method[name])) if value == present]
    where = (config.dataset.name, config.scale.name, config.protocol.name)

    def follows(key: str, other: float) -> bool:
        try:
            changed = compose([name], *where, [f"{key}={literal(other)}"])
        except ConfigError:  # a setting of the same value that has to keep an order with others
            return False
        return fixed(changed.method[name]) == other

    return [key for key in keys if any(follows(key, other) for other in others if other != present)]


def _numbers(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            yield f"{prefix}{key}", value
