"""What `check` measures: tier 1 applies recorded weights, tier 2 trains for a few iterations, both in a fresh store."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.check.reference import Reference, Values, as_recorded
from benchmark.config import RunConfig, plain
from benchmark.execution.runner import Runner, RunResult
from benchmark.planning.plan import PlannedRun, PlannedStage, make_plan
from benchmark.run_folder.traces import losses
from benchmark.store import Store, content_key, file_hash
from methods.base import Kind, MethodError
from methods.layers.config import TrainConfig

SEED = 0
ITERATIONS = 40
"""Of every training in tier 2: enough for the losses to fall, little enough for all methods to take minutes."""
CHANCE = ("tuned", "curve")
"""Variants that are not compared: the tuned threshold is chosen on few images, where the next is often as good; the
curve repeats the others."""
OVERALL = ("miou", "pixel_accuracy")
"""Metrics of tier 2: over all classes, since single classes vary a lot after so little training."""
NO_REFERENCE = "no reference"


@dataclass(frozen=True)
class Outcome:
    """What became of one method. status: "done", "failed", "not run" or "no reference", the last three with a reason."""

    status: str
    reason: str = ""
    values: Values = field(default_factory=dict)


def apply_weights(config: RunConfig, reference: Reference) -> dict[str, Outcome]:
    """Tier 1: everything after the trainings, with the recorded weights in their place."""
    with fresh_store(config) as config:
        plan = make_plan(config, [SEED])
        runs, outcomes = [], {}
        for run in plan.runs:
            stages = applied(run)
            files = {p.key: reference.weights_file(run.method.name, p.stage.name) for p in trained(stages)}
            missing = [p.stage.name for p in trained(stages) if files[p.key] is None]
            if run.status != "planned":
                outcomes[run.method.name] = Outcome(run.status, run.reason)
            elif missing:
                reason = f"no recorded weights of {', '.join(missing)}; check --update --train makes them"
                outcomes[run.method.name] = Outcome(NO_REFERENCE, reason)
            else:
                for planned in trained(stages):
                    _install(plan.store, planned, files[planned.key])
                runs.append(replace(run, stages=stages))
        plan.runs = runs
        for result in Runner(plan).run():
            outcomes[result.run.method.name] = _outcome(result, scores(result))
    return outcomes


def train_briefly(config: RunConfig, seed: int) -> dict[str, Outcome]:
    """Tier 2: every stage of every method, trainings shortened to `ITERATIONS`."""
    with fresh_store(shortened_run(config)) as config:
        plan = make_plan(config, [seed])
        outcomes = {c.method.name: Outcome(c.status, c.reason) for c in plan.runs if c.status != "planned"}
        plan.runs = [run for run in plan.runs if run.status == "planned"]
        for result in Runner(plan).run():
            outcomes[result.run.method.name] = _outcome(result, overall(scores(result)) | mean_losses(result))
    return outcomes


def train_weights(config: RunConfig, reference: Reference) -> set[str]:
    """Record the weights that tier 1 needs, from ordinary runs on the whole data set: what they stored is used.

    Stages of equal function and settings share the weights of the first. Returns the methods whose weights are
    others than before. Raises MethodError if a stage fails.
    """
    from benchmark.check.weights import pack

    plan = make_plan(replace(config, dataset=replace(config.dataset, subset=0)), [SEED])
    for run in plan.runs:
        if run.status == "failed":
            raise MethodError(f"{run.method.name}: {run.reason}")
    sources = {f"{c.method.name}/{p.stage.name}": p for c in plan.runs for p in trained(applied(c))}
    chosen: dict[str, PlannedStage] = {}
    for planned in sources.values():
        chosen.setdefault(_alike(planned), planned)
    keys = {planned.key for planned in chosen.values()}
    for run in plan.runs:
        run.stages = upstream(run, [p for p in run.stages if p.key in keys])
    for result in Runner(plan).run():
        if result.status == "failed":
            raise MethodError(f"{result.run.method.name}: {result.reason}")
    files: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        for alike, planned in chosen.items():
            packed = Path(folder) / "packed.safetensors"
            pack(plan.store.path(planned.stage.name, planned.key), packed)
            files[alike] = f"{planned.stage.name}-{_digest(packed)}.safetensors"
            reference.folder.mkdir(parents=True, exist_ok=True)
            shutil.move(packed, reference.folder / files[alike])
    recorded = {name: files[_alike(planned)] for name, planned in sources.items()}
    others = {name for name, file in recorded.items() if reference.weights.get(name) != file}
    reference.weights |= recorded
    return {name.partition("/")[0] for name in others}


def applied(run: PlannedRun) -> list[PlannedStage]:
    """Stages that the run's scores need once everything is trained: the trainings without what they learn from."""
    needed: set[str] = set()
    todo = [p for p in run.stages if p.score_key is not None]
    while todo:
        planned = todo.pop()
        needed.add(planned.key)
        if planned.stage.yields != Kind.WEIGHTS:
            todo += planned.inputs.values()
    return [p for p in run.stages if p.key in needed]


def trained(stages: Sequence[PlannedStage]) -> list[PlannedStage]:
    return [p for p in stages if p.stage.yields == Kind.WEIGHTS]


def upstream(run: PlannedRun, stages: Sequence[PlannedStage]) -> list[PlannedStage]:
    """The stages and everything they are made from, unscored."""
    needed: set[str] = set()
    todo = list(stages)
    while todo:
        planned = todo.pop()
        needed.add(planned.key)
        todo += planned.inputs.values()
    return [replace(p, score_key=None) for p in run.stages if p.key in needed]


def shortened_run(config: RunConfig) -> RunConfig:
    """The same run with trainings of `ITERATIONS`."""
    return replace(
        config,
        protocol=shortened(config.protocol),
        method={name: shortened(settings) for name, settings in config.method.items()},
    )


def shortened(settings: Any) -> Any:
    """Settings with every `TrainConfig` in them shortened, its warm-up in proportion."""
    if isinstance(settings, TrainConfig):
        iterations = min(settings.iterations, ITERATIONS)
        warmup = settings.warmup * iterations // settings.iterations
        return replace(settings, iterations=iterations, warmup=warmup)
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return replace(
            settings, **{f.name: shortened(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
        )
    return settings


def scores(result: RunResult) -> dict[str, float]:
    """Numbers of a run by name: stage, variant, split, metric and class."""
    named = ("stage", "variant", "split", "metric", "class_name")
    return {
        "/".join(row[column] for column in named if row[column]): row["value"]
        for _, rows in result.scores
        for row in rows
        if row["variant"] not in CHANCE
    }


def overall(values: dict[str, float]) -> dict[str, float]:
    """Those of tier 2."""
    return {name: value for name, value in values.items() if name.rpartition("/")[2] in OVERALL}


def mean_losses(result: RunResult) -> dict[str, float]:
    """The mean of every loss term over each of a run's trainings, by name."""
    return {
        f"{stage}/loss {number}/{term}": value
        for stage, artifact in result.artifacts.items()
        for number, history in enumerate(losses(artifact.path), 1)
        for term, value in mean_of(history).items()
    }


def mean_of(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each term over a training, whose points are means since the point before.

    A term that began later counts from then on.
    """
    sums: dict[str, float] = {}
    iterations: dict[str, float] = {}
    before = 0.0
    for point in history:
        step, before = point["iteration"] - before, point["iteration"]
        for term, value in point.items():
            if term != "iteration":
                sums[term] = sums.get(term, 0.0) + step * value
                iterations[term] = iterations.get(term, 0.0) + step
    return {term: total / iterations[term] for term, total in sums.items()}


@contextmanager
def fresh_store(config: RunConfig) -> Iterator[RunConfig]:
    """The configuration with a store of its own, which is removed afterwards."""
    with TemporaryDirectory(prefix="wsss-check-") as folder:
        yield replace(config, runtime=replace(config.runtime, store=folder))


def _outcome(result: RunResult, values: dict[str, float]) -> Outcome:
    return Outcome(result.status, result.reason, as_recorded(values))


def _alike(planned: PlannedStage) -> str:
    """The same for trainings of the same function and settings, whatever labels they learn from."""
    return content_key({"run": planned.stage.run, "settings": plain(planned.stage.settings)})


def _digest(file: Path) -> str:
    """Of packed weights, in the name of their file."""
    return file_hash(file)[:8]


def _install(store: Store, planned: PlannedStage, file: Path | None) -> None:
    """Put recorded weights where the stage's training would have left its own."""
    from benchmark.check.weights import unpack

    if file is None or not file.is_file():
        raise MethodError(f"{file}: recorded weights are missing; restore them with git checkout")
    if not file.stem.endswith(f"-{_digest(file)}"):
        raise MethodError(f"{file}: recorded weights are damaged; restore them with git checkout")
    with store.building(planned.stage.name, planned.key) as work:
        if work is not None:  # shared by two methods
            unpack(file, work)
            store.commit(planned.stage.name, planned.key, work, {"kind": Kind.WEIGHTS.value, "seconds": 0.0})
