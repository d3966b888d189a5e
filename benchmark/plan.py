"""From a configuration to cells, and from cells to keyed stages: what is stored and what is to be done.

Planning reads files' hashes but loads no image and no torch. Pretrained weights that are not here are fetched, since
their content is part of the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.code_version import code_version
from benchmark.config import RunConfig, choose, plain
from benchmark.console import console
from benchmark.distributed import world_size
from benchmark.store import Entry, Store, content_key
from datasets import dataset_class
from datasets.base import Dataset
from methods.base import Kind, Method, MethodError, NotRunnable, Stage, Supervision, TrainingView
from methods.layers.weights import check_served, fetch, fingerprint
from methods.registry import find_method

HARNESS_MODULES = ("benchmark.context",)
"""Harness sources whose change can change a stage's result: its training loop and loaders."""
EVALUATOR_MODULE = "benchmark.evaluation.evaluator"
REFERENCE_MODULE = "benchmark.evaluation.reference"
UNFETCHED = "to be fetched"
MASK_CHECK_MODULE = "benchmark.evaluation.mask_check"
SCORED = {Kind.CAM: "cam", Kind.PSEUDO_LABEL: "pseudo_label", Kind.PREDICTION: "segmentation"}
"""Artifact kinds the evaluator scores, and what their scores are called."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage with its key; `score_key` is that of its scores where its kind is scored.

    weights: reference -> SHA-256 of the pretrained weights it starts from; `UNFETCHED` where they are still to be
             fetched, and then the key is not the one it will have
    """

    stage: Stage
    key: str
    inputs: dict[str, PlannedStage]
    split: str
    score_key: str | None = None
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def provisional(self) -> bool:
        """Whether weights that its key depends on are still to be fetched."""
        return UNFETCHED in self.weights.values() or any(up.provisional for up in self.inputs.values())

    @property
    def score_name(self) -> str:
        return f"score-{self.stage.name}"

    @property
    def scored_as(self) -> str:
        """`stage` of its scores in the records."""
        return self.stage.scored_as or SCORED[self.stage.yields]


@dataclass
class Cell:
    """Data set x method x scale x protocol x seed, with its keyed stages or the reason it has none.

    status: "planned", "not run" (inputs do not cover the data) or "failed" (e.g. weights are missing)
    """

    method: Method
    seed: int
    stages: list[PlannedStage] = field(default_factory=list)
    status: str = "planned"
    reason: str = ""


@dataclass
class Plan:
    """Cells of a run over one data set."""

    config: RunConfig
    dataset: Dataset
    store: Store
    cells: list[Cell]

    def reference_key(self, stage: str, split: str) -> str:
        """Key of the reference predictions' scores on a split."""
        data = [self.dataset.fingerprint(part, split) for part in ("images", "masks")]
        return content_key({"reference": stage, "data": data, "code": code_version(REFERENCE_MODULE)})

    def to_fetch(self) -> list[str]:
        """References of weights that are still to be fetched, see `make_plan`."""
        found = {
            reference
            for cell in self.cells
            for planned in cell.stages
            for reference, content in planned.weights.items()
            if content == UNFETCHED
        }
        return sorted(found)

    def splits_with_open_masks(self) -> list[str]:
        """Splits whose masks somebody opens: to score an artifact, or to train where a method may."""
        cells = [cell for cell in self.cells if cell.status == "planned"]
        scored = {p.split for cell in cells for p in cell.stages if p.score_key is not None}
        trained_on = {
            split
            for cell in cells
            if Supervision.MASKS in cell.method.supervision
            for p in cell.stages
            for split in p.stage.splits
        }
        return [s for s in sorted(scored | trained_on) if self.dataset.masked(s)]

    def mask_check_key(self, split: str) -> str:
        """Key of the check of a split's masks; images and their labels have a part in it."""
        data = [self.dataset.fingerprint(part, split) for part in ("images", "masks")]
        return content_key({"mask check": data, "code": code_version(MASK_CHECK_MODULE)})

    def entries(self) -> Iterator[tuple[PlannedStage, Entry | None]]:
        """Every distinct stage of all cells, with its artifact if it is stored."""
        seen = set()
        for cell in self.cells:
            for planned in cell.stages:
                if planned.key not in seen:
                    seen.add(planned.key)
                    yield planned, self.store.find(planned.stage.name, planned.key)


def make_plan(
    config: RunConfig,
    seeds: Sequence[int],
    until: str | None = None,
    *,
    fetching: bool = True,
    methods: Sequence[Method] | None = None,
) -> Plan:
    """Plan every (method, seed). Raises DataError when the data set cannot be read.

    until: stop after the stages that yield this kind (cam, pseudo_label, ...) and what they need; a method
           without such a stage is not run
    fetching: have libraries download pretrained weights that are not here; without it, `PlannedStage.provisional`
    methods: those that `config.method` has the settings of, where they are not registered under these names
    """
    if until is not None:
        choose("--until", until, [kind.value for kind in Kind])
    dataset = dataset_class(config.dataset.name)(config.dataset)  # type: ignore[call-arg]
    dataset.prepare()
    store = Store(Path(config.runtime.store))
    keys = _Keys(config, dataset, world_size(), fetching)
    view = dataset.training_view()
    if methods is None:
        methods = [find_method(name) for name in config.method]
    cells = [_plan_cell(config, method, seed, view, keys, until) for seed in seeds for method in methods]
    return Plan(config, dataset, store, cells)


def _plan_cell(
    config: RunConfig, method: Method, seed: int, view: TrainingView, keys: _Keys, until: str | None
) -> Cell:
    if Supervision.MASKS in method.supervision and (missing := keys.images_without_mask("train")):
        total = len(view.samples("train"))
        reason = f"needs true masks of the training images; {missing} of {total} have none"
        return Cell(method, seed, status="not run", reason=reason)
    try:
        return _plan_stages(config, method, seed, view, keys, until)
    except NotRunnable as error:
        return Cell(method, seed, status="not run", reason=str(error))
    except MethodError as error:  # missing weights, say: a row of the board, while the others run
        return Cell(method, seed, status="failed", reason=str(error))


def _plan_stages(
    config: RunConfig, method: Method, seed: int, view: TrainingView, keys: _Keys, until: str | None
) -> Cell:
    stages = list(method.stages(config.method[method.name], view, config.shared))
    if until is not None:
        stages = _until(stages, Kind(until), method.name)
    planned: dict[str, PlannedStage] = {}
    for stage in stages:
        inputs = {role: planned[name] for role, name in stage.inputs.items()}
        weights = {reference: keys.weights(reference) for reference in stage.pretrained}
        key = keys.stage(stage, inputs, weights, seed, Supervision.MASKS in method.supervision)
        split = stage.splits[0]
        score_key = keys.score(key, stage, split) if stage.yields in SCORED else None
        planned[stage.name] = PlannedStage(stage, key, inputs, split, score_key, weights)
    return Cell(method, seed, list(planned.values()))


def _until(stages: list[Stage], kind: Kind, method: str) -> list[Stage]:
    """The stages that yield `kind`, and everything upstream of them."""
    by_name = {s.name: s for s in stages}
    wanted = {s.name for s in stages if s.yields == kind}
    if not wanted:
        raise NotRunnable(f"--until {kind}: method {method} has no such stage; it yields "
                          f"{', '.join(dict.fromkeys(s.yields.value for s in stages))}")  # fmt: skip
    todo = list(wanted)
    while todo:
        for upstream in by_name[todo.pop()].inputs.values():
            if upstream not in wanted:
                wanted.add(upstream)
                todo.append(upstream)
    return [s for s in stages if s.name in wanted]


class _Keys:
    """Keys of stages and scores for one data set and one way of computing."""

    def __init__(self, config: RunConfig, dataset: Dataset, world_size: int, fetching: bool) -> None:
        self._config, self._dataset, self._world_size = config, dataset, world_size
        self._fetching = fetching
        self._weights: dict[str, str | MethodError] = {}
        self._harness = [code_version(module) for module in HARNESS_MODULES]
        self._fingerprints: dict[tuple[str, str], str] = {}

    def stage(
        self, stage: Stage, inputs: dict[str, PlannedStage], weights: dict[str, str], seed: int, masks: bool
    ) -> str:
        runtime = self._config.runtime
        parts = {
            "run": stage.run,
            "settings": plain(stage.settings),
            "inputs": {role: planned.key for role, planned in inputs.items()},
            "data": {split: self._data("images", split) for split in stage.splits},
            "masks": {split: self._data("masks", split) for split in stage.splits} if masks else {},
            "classes": list(self._dataset.classes),
            "pretrained": weights,
            "seed": seed if stage.seeded else None,
            "code": [code_version(stage.run.split(":")[0]), *self._harness],
            "precision": runtime.precision,
            "deterministic": runtime.deterministic,
            "world_size": self._world_size,
        }
        return content_key(parts)

    def score(self, key: str, stage: Stage, split: str) -> str:
        evaluation = self._config.evaluation
        parts = {
            "artifact": key,
            "masks": self._data("masks", split),
            "threshold": stage.fixed_threshold,
            "scored_as": stage.scored_as,
            "held_out": evaluation.held_out,
            "sweep_max": evaluation.sweep_max,
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
        if (part, split) not in self._fingerprints:
            self._fingerprints[part, split] = self._dataset.fingerprint(part, split)  # type: ignore[arg-type]
        return self._fingerprints[part, split]
