"""From a configuration to runs, and from runs to keyed stages: what is stored and what is to be done.

Planning reads files' hashes but loads no image and no torch. Pretrained weights that are not here are fetched, since
their content is part of the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmark.config import RunConfig, choose, plain, protocol_defaults
from benchmark.console import console
from benchmark.failures import one_line, packages_of
from benchmark.planning.changes import parts
from benchmark.planning.code_version import code_version, function_fault
from benchmark.planning.discarded import artifacts
from benchmark.planning.graph import (
    SCORED,
    check_masks_unseen,
    check_order,
    check_refiner,
    until_kind,
    until_scores,
)
from benchmark.planning.weights import check_weights
from benchmark.provenance import world_size
from benchmark.store import Store, StoredArtifact, content_key
from datasets import open_dataset
from datasets.base import DataError, Dataset
from datasets.files.hash_list import changed_files
from datasets.files.places import expanded
from methods.base import Kind, Method, MethodError, NotRunnable, Stage, Supervision, TrainingView
from methods.layers.weights.files import check_served, fetch, fingerprint
from methods.registry import find_method

HARNESS_MODULES = ("benchmark.execution.context",)
"""Harness sources whose change can change a stage's result: its training loop and loaders."""
FOREGROUND_MODULE = "benchmark.execution.foreground"
EVALUATOR_MODULE = "benchmark.evaluation.evaluator"
CLASSIFIER_MODULE = "benchmark.evaluation.classifier"
REFERENCE_MODULE = "benchmark.evaluation.reference"
UNFETCHED = "to be fetched"
MASK_CHECK_MODULE = "benchmark.evaluation.mask_check"


@dataclass(frozen=True)
class Job:
    """What is to be run: every method of a configuration with every seed.

    until:  stop after the stages that yield this kind (cam, pseudo_label, ...) and what they need; a method without
            such a stage is not run
    scores: stop where these scores of the records (`PlannedStage.scored_as`) are; (): nowhere
    methods: those that `config.method` has the settings of, where they are not registered under these names
    label:  what tells its runs from those of other jobs, in plans, progress and loggers' runs; in no record
    """

    config: RunConfig
    seeds: Sequence[int]
    until: str | None = None
    scores: tuple[str, ...] = ()
    methods: Sequence[Method] = ()
    label: str = ""


@dataclass(frozen=True)
class PlannedStage:
    """A stage with its key; `score_key` is that of its scores where its kind is scored.

    weights: reference -> SHA-256 of the pretrained weights it starts from; `UNFETCHED` where they are still to be
             fetched, and then the key is not the one it will have
    foreground: whether it keeps foreground maps, see `benchmark.execution.foreground`
    inspected: whether single defects are scored
    """

    stage: Stage
    key: str
    inputs: dict[str, PlannedStage]
    split: str
    score_key: str | None = None
    weights: dict[str, str] = field(default_factory=dict)
    foreground: bool = False
    inspected: bool = False

    @property
    def judged(self) -> bool:
        """Whether verdicts on images are scored. CAMs and pseudo-labels are made with the images' labels, which a
        verdict would only repeat."""
        return self.inspected and self.stage.yields == Kind.PREDICTION

    @property
    def provisional(self) -> bool:
        """Whether weights that its key depends on are still to be fetched."""
        return UNFETCHED in self.weights.values() or any(up.provisional for up in self.inputs.values())

    @property
    def needs_masks(self) -> bool:
        """Whether its scores are made with masks; those of images' labels are not."""
        return self.score_key is not None and self.stage.yields != Kind.IMAGE_SCORES

    def is_scored(self, masked: Callable[[str], int]) -> bool:
        """Whether there is anything to score it by. masked: number of masks of a split"""
        return self.score_key is not None and (
            not self.needs_masks or self.judged or bool(masked(self.split))
        )

    @property
    def score_name(self) -> str:
        return f"score-{self.stage.name}"

    @property
    def scored_as(self) -> str:
        """`stage` of its scores in the records."""
        return self.stage.scored_as or SCORED[self.stage.yields]


@dataclass
class PlannedRun:
    """Data set x method x scale x protocol x refiner x segmentation network x seed, with its keyed stages or the
    reason it has none.

    status: "planned", "not run" (inputs do not cover the data) or "failed" (e.g. weights are missing)
    label:  its job's
    """

    config: RunConfig
    method: Method
    seed: int
    stages: list[PlannedStage] = field(default_factory=list)
    status: str = "planned"
    reason: str = ""
    label: str = ""

    @property
    def title(self) -> str:
        """Of its progress: method, what a grid gives it in place of the protocol's parts, its job's label, seed."""
        protocol, scale = self.config.protocol, self.config.scale.name
        usual = parts(protocol_defaults(protocol.name, scale, self.config.dataset.name), scale)
        chosen = [part for part, own in zip(parts(protocol, scale), usual) if part != own]
        named = [*chosen, self.label] if self.label else chosen
        return " · ".join([self.method.name, *named, f"seed {self.seed}"])


class DataChangedError(DataError):
    """Data are not those any more that keys were made of."""


@dataclass
class Plan:
    """The runs over one data set. Their configurations differ in methods and shared parts; `config` is the
    first one's."""

    config: RunConfig
    dataset: Dataset
    store: Store
    runs: list[PlannedRun]
    fingerprints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """("images" or "masks", split) -> what the keys were made of."""

    def require_data(self, part: Literal["images", "masks"], splits: Iterable[str]) -> None:
        """DataChangedError where images or masks are not those any more that the keys were made of; DataError where they
        cannot be read."""
        for split in splits:
            known = self.fingerprints.get((part, split))
            if known is not None and self.dataset.fingerprint(part, split) != known:
                raise DataChangedError(
                    f"{part} of {split} have changed since the command began; run it again, it takes them as they are now"
                )

    def reference_key(self, stage: str, split: str) -> str:
        """Key of the reference predictions' scores on a split."""
        data = [self.dataset.fingerprint(part, split) for part in ("images", "masks")]
        return content_key({"reference": stage, "data": data, "code": code_version(REFERENCE_MODULE)})

    def to_fetch(self) -> list[str]:
        """References of weights that are still to be fetched, see `make_plan`."""
        found = {
            reference
            for run in self.runs
            for planned in run.stages
            for reference, content in planned.weights.items()
            if content == UNFETCHED
        }
        return sorted(found)

    def splits_with_open_masks(self) -> list[str]:
        """Splits whose masks somebody opens: to score an artifact, or to train where a method may."""
        runs = [run for run in self.runs if run.status == "planned"]
        scored = {p.split for run in runs for p in run.stages if p.needs_masks}
        trained_on = {
            split
            for run in runs
            if Supervision.MASKS in run.method.supervision
            for p in run.stages
            for split in p.stage.splits
        }
        return [s for s in sorted(scored | trained_on) if self.dataset.masked(s)]

    def mask_check_key(self, split: str) -> str:
        """Key of the check of a split's masks; images and their labels have a part in it."""
        data = [self.dataset.fingerprint(part, split) for part in ("images", "masks")]
        return content_key({"mask check": data, "code": code_version(MASK_CHECK_MODULE)})

    def artifacts(self) -> Iterator[tuple[PlannedStage, StoredArtifact | None]]:
        """Every distinct stage of all runs, with its artifact if it is stored, or what is left of one that was
        discarded and is not needed."""
        return artifacts(self)


def make_plan(
    config: RunConfig,
    seeds: Sequence[int],
    until: str | None = None,
    *,
    fetching: bool = True,
    methods: Sequence[Method] = (),
) -> Plan:
    """Plan one job, see `plan_jobs`."""
    return plan_jobs([Job(config, seeds, until, methods=methods)], fetching=fetching)


def plan_jobs(jobs: Sequence[Job], *, fetching: bool = True) -> Plan:
    """Plan every (method, seed) of every job; their data set, scale, evaluation and runtime are the same.

    fetching: have libraries download pretrained weights that are not here; without it, `PlannedStage.provisional`
    Raises DataError when the data set cannot be read, ConfigError for an unknown `until`.
    """
    for job in jobs:
        if job.until is not None:
            choose("--until", job.until, [kind.value for kind in Kind])
    config = jobs[0].config
    dataset = open_dataset(config.dataset)
    dataset.prepare()
    if config.dataset.root is not None:
        for line in changed_files(dataset, expanded(config.dataset.root)):
            console.print(line, style="yellow", markup=False)
    store = Store(Path(config.runtime.store))
    keys = _Keys(config, dataset, world_size(), fetching)
    view = dataset.training_view()
    runs = [
        _plan_run(job, method, seed, view, keys)
        for job in jobs
        for seed in job.seeds
        for method in job.methods or map(find_method, job.config.method)
    ]
    return Plan(config, dataset, store, runs, keys.fingerprints)


def _plan_run(job: Job, method: Method, seed: int, view: TrainingView, keys: _Keys) -> PlannedRun:
    run = PlannedRun(job.config, method, seed, label=job.label)
    if Supervision.MASKS in method.supervision and (missing := keys.images_without_mask("train")):
        total = len(view.samples("train"))
        reason = f"needs true masks of the training images; {missing} of {total} have none"
        return replace(run, status="not run", reason=reason)
    try:
        return replace(run, stages=_plan_stages(job, method, seed, view, keys))
    except NotRunnable as error:
        return replace(run, status="not run", reason=str(error))
    except MethodError as error:  # missing weights, say: a row of the leaderboard, while the others run
        return replace(run, status="failed", reason=str(error))


def _own_stages(job: Job, method: Method, view: TrainingView) -> list[Stage]:
    """What the method declares; MethodError where it raises anything else, and where stages do not follow each other."""
    try:
        declared = method.stages(job.config.method[method.name], view, job.config.shared)
        if declared is None:
            raise MethodError(f"method {method.name}: stages() returns None; return the list of stages")
        stages = list(declared)
        _ = (
            method.deviations
        )  # the leaderboard reads them, and a faulty file is to fail before hours of training
    except MethodError:
        raise
    except Exception as error:
        said = one_line(error, Path(job.config.runtime.store), packages_of(method))
        raise MethodError(f"method {method.name}, stages: {said}") from error
    check_order(stages, method.name)
    return stages


def _require_functions(stages: Sequence[Stage], method: str) -> None:
    """MethodError where a stage's function is not there: said now, not after hours of training."""
    for stage in stages:
        for address in filter(None, (stage.run, stage.profile)):
            if fault := function_fault(address):
                raise MethodError(f"method {method}, stage {stage.name}: {fault}")


def _plan_stages(job: Job, method: Method, seed: int, view: TrainingView, keys: _Keys) -> list[PlannedStage]:
    stages = _own_stages(job, method, view)
    check_refiner(job.config, stages, method.name)
    if job.until is not None:
        stages = until_kind(stages, Kind(job.until), method.name)
    if job.scores:
        stages = until_scores(stages, job.scores, method.name)
    if Supervision.MASKS not in method.supervision:
        check_masks_unseen(job.config.dataset.name, stages, method.name)
    _require_functions(stages, method.name)
    planned: dict[str, PlannedStage] = {}
    for stage in stages:
        inputs = {role: planned[name] for role, name in stage.inputs.items()}
        weights = {reference: keys.weights(reference) for reference in stage.pretrained}
        check_weights(stage, job.config.runtime.weights_root)
        foreground = (
            keys.inspected
            and stage.yields == Kind.PREDICTION
            and any(up.stage.yields == Kind.WEIGHTS for up in inputs.values())
        )
        masks = Supervision.MASKS in method.supervision
        key = keys.stage(stage, inputs, weights, seed, masks, foreground)
        split = stage.splits[0]
        score_key = keys.score(key, stage, split) if stage.yields in SCORED else None
        planned[stage.name] = PlannedStage(
            stage, key, inputs, split, score_key, weights, foreground, keys.inspected
        )
    return list(planned.values())


def inspected(config: RunConfig, dataset: Dataset) -> bool:
    """Whether verdicts on images and single defects are scored."""
    chosen = config.evaluation.inspection
    return dataset.has_good_parts if chosen == "auto" else chosen == "always"


class _Keys:
    """Keys of stages and scores for one data set and one way of computing."""

    def __init__(self, config: RunConfig, dataset: Dataset, world_size: int, fetching: bool) -> None:
        self._config, self._dataset, self._world_size = config, dataset, world_size
        self._fetching = fetching
        self.inspected = inspected(config, dataset)
        self._weights: dict[str, str | MethodError] = {}
        self._harness = [code_version(module) for module in HARNESS_MODULES]
        self.fingerprints: dict[tuple[str, str], str] = {}

    def stage(
        self,
        stage: Stage,
        inputs: dict[str, PlannedStage],
        weights: dict[str, str],
        seed: int,
        masks: bool,
        foreground: bool,
    ) -> str:
        runtime = self._config.runtime
        parts = {
            "run": stage.run,
            "settings": plain(stage.settings, rounding=False),
            "inputs": {role: planned.key for role, planned in inputs.items()},
            "data": {split: self._data("images", split) for split in stage.splits},
            "masks": {split: self._data("masks", split) for split in stage.splits} if masks else {},
            "classes": list(self._dataset.classes),
            "pretrained": weights,
            "seed": seed if stage.seeded else None,
            "code": [code_version(stage.run.split(":")[0]), *self._harness],
            "precision": runtime.precision,
            "deterministic": runtime.deterministic,
            **({"max_iterations": runtime.max_iterations} if runtime.max_iterations else {}),
            **({"foreground": code_version(FOREGROUND_MODULE)} if foreground else {}),
            "world_size": self._world_size,
        }
        return content_key(parts)

    def score(self, key: str, stage: Stage, split: str) -> str:
        if stage.yields == Kind.IMAGE_SCORES:  # the labels are in the artifact's key
            return content_key(
                {"artifact": key, "scored_as": stage.scored_as, "code": code_version(CLASSIFIER_MODULE)}
            )
        evaluation = self._config.evaluation
        parts = {
            "artifact": key,
            "masks": self._data("masks", split),
            "threshold": stage.fixed_threshold,
            "scored_as": stage.scored_as,
            "held_out": evaluation.held_out,
            "sweep_max": evaluation.sweep_max,
            "boundary_tolerance": evaluation.boundary_tolerance,
            **({"inspected": True} if self.inspected else {}),
            "code": code_version(EVALUATOR_MODULE),
        }
        return content_key(parts)

    def weights(self, reference: str) -> str:
        """Hash of pretrained weights; tried once, so that all who need what cannot be had fail at once."""
        if reference not in self._weights:
            try:
                self._weights[reference] = self._resolve(reference)
            except MethodError as error:
                self._weights[reference] = error
        found = self._weights[reference]
        if isinstance(found, MethodError):
            raise found
        return found

    def _resolve(self, reference: str) -> str:
        root = self._config.runtime.weights_root
        found = fingerprint(reference, root)
        if found is None and self._fetching:
            console.print(f"fetching weights {reference}", markup=False)
            fetch(reference, root)
            found = fingerprint(reference, root)
            assert found is not None
        elif found is None:
            check_served(reference, root)
        return found or UNFETCHED

    def images_without_mask(self, split: str) -> int:
        return sum(self._dataset.mask_path(i) is None for i in self._dataset.ids(split))

    def _data(self, part: str, split: str) -> str:
        if (part, split) not in self.fingerprints:
            self.fingerprints[part, split] = self._dataset.fingerprint(part, split)  # type: ignore[arg-type]
        return self.fingerprints[part, split]
