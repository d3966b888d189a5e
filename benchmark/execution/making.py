"""Makes one artifact of a plan, or its scores, and stores it: what runs in whichever process the runner chooses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from benchmark import provenance
from benchmark.config import key_of, plain
from benchmark.console import console, duration, stage_progress
from benchmark.execution.distributed import Team, make_fabric
from benchmark.execution.memory import PeakMemory, release_unused
from benchmark.execution.tasks import Outcome, Task
from benchmark.failures import one_line, out_of_memory, packages_of
from benchmark.planning.plan import DataChangedError, Plan, PlannedRun, PlannedStage
from benchmark.planning.weights import settings_parts
from benchmark.stopping import was_told
from benchmark.store import SCRATCH, Store, StoredArtifact, disk_is_full
from benchmark.timing.estimate import megapixels
from datasets.base import DataError
from methods.base import Artifact, Kind, MethodError, Supervision, function_of
from methods.layers.config import TrainConfig
from methods.layers.weights.files import fingerprint

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from benchmark.execution.fitting import Fit

LogLosses = Callable[[int, Mapping[str, float], int], None]
"""(index of the run, losses by name, iteration)"""


class Maker:
    """Makes what a plan needs; each artifact under its key's lock, so that several processes may share the store."""

    def __init__(
        self, plan: Plan, team: Team | None = None, log: LogLosses = lambda run, values, iteration: None
    ) -> None:
        """team: the processes of a run under torchrun, of which this one is rank 0; log: told the losses of trainings"""
        self.plan = plan
        self._team = team
        self._fabric: Fabric | None = team.fabric if team else None
        self._log = log
        self.reference_failures: list[str] = []
        """Why reference rows are missing, one line each; filled by `references`."""

    def do(self, task: Task) -> Outcome:
        """Do a task; a failure is its outcome."""
        run = self.plan.runs[task.run]
        planned = run.stages[task.stage]
        title = f"{run.title} · {planned.stage.name}"
        try:
            if task.scoring:
                artifact, cached = self._scores(planned, f"{title} · scoring")
            else:
                artifact, cached = self.obtain(
                    planned.stage.name,
                    planned.key,
                    title,
                    lambda work: self._execute(run, planned, work, title),
                )
            outcome = Outcome(cached, resumed=bool(artifact.manifest.get("resumed")))
        except Exception as error:
            if was_told():
                raise
            failure = one_line(error, self.plan.store.root, packages_of(run.method, planned.stage.run))
            full = disk_is_full(error)  # then its traceback would not fit either
            outcome = Outcome(failure=failure, traceback="" if full else "".join(format_exception(error)))
        if not outcome.cached:
            release_unused()  # the next stage's peak is its own
        return outcome

    def is_stored(self, task: Task) -> bool:
        """Whether there is nothing left to do."""
        planned = self.plan.runs[task.run].stages[task.stage]
        name = planned.score_name if task.scoring else planned.stage.name
        if self.plan.store.intact(name, task.key) is None:
            return False
        self.plan.store.touch(name, task.key)
        return True

    def _scores(self, planned: PlannedStage, title: str) -> tuple[StoredArtifact, bool]:
        assert planned.score_key is not None
        artifact = self._input(planned)
        return self.obtain(
            planned.score_name,
            planned.score_key,
            title,
            lambda work: self._score(planned, artifact, work, title),
        )

    def _input(self, planned: PlannedStage) -> StoredArtifact:
        """An artifact that something is going to be made from."""
        if (artifact := self.plan.store.intact(planned.stage.name, planned.key)) is None:
            path = self.plan.store.path(planned.stage.name, planned.key)
            raise DataError(
                f"{path}: not there any more, or damaged; run the same command again: it makes it anew"
            )
        return artifact

    def check_masks(self) -> None:
        """Raises DataError if a mask that will be opened is faulty."""
        for split in self.plan.splits_with_open_masks():
            title = f"masks · {split} · checking"
            self.obtain(
                "check-masks", self.plan.mask_check_key(split), title, partial(self._look, split, title)
            )

    def _look(self, split: str, title: str, work: Path) -> Mapping[str, Any]:
        from benchmark.evaluation.mask_check import check_masks

        progress = stage_progress(title)
        progress.start(self.plan.dataset.masked(split), "img")
        notes: list[str] = []
        try:
            masks = check_masks(self.plan.dataset, split, progress=progress.advance, note=notes.append)
            return {"kind": "check", "masks": masks}
        finally:
            progress.stop()
            for text in notes:
                console.print(f"note: {text}", markup=False)

    def follow(self) -> None:
        """What the other processes of a team do: train when rank 0 does."""
        team, store = self._team, self.plan.store
        assert team is not None
        while (order := team.next_stage()) is not None:
            run = self.plan.runs[order[0]]
            planned = run.stages[order[1]]
            error = None
            checkpoints = store.work_path(planned.stage.name, planned.key) / SCRATCH
            with TemporaryDirectory() as output:
                (Path(output) / SCRATCH).mkdir()
                try:
                    self._call(run, planned, Path(output), "", checkpoints)
                except Exception as raised:  # rank 0 makes it the run's row
                    error = one_line(raised, store.root, packages_of(run.method, planned.stage.run))
            team.agree(error)

    def obtain(
        self, name: str, key: str, title: str, make: Callable[[Path], Mapping[str, Any]]
    ) -> tuple[StoredArtifact, bool]:
        """The stored artifact, or a new one made under the key's lock. Returns (artifact, was it stored)."""
        store: Store = self.plan.store
        if (artifact := store.intact(name, key)) is not None:
            store.touch(name, key)
            return artifact, True
        self._keep_young()

        def waiting() -> None:
            console.print(f"{title}: another run is at it; waiting for its result", markup=False)

        with store.building(name, key, waiting) as work:
            if work is None:
                found = store.find(name, key)
                assert found is not None
                return found, True
            resumed = any((work / SCRATCH).iterdir())
            began = time.perf_counter()
            with PeakMemory() as memory:
                manifest = make(work)
            seconds = time.perf_counter() - began
            cost = {
                "seconds": round(seconds, 3),
                "resumed": resumed,  # the seconds are then those of the last part alone
                "host_memory_mb": round(memory.host_mb, 1),
                "device_memory_mb": memory.device_mb and round(memory.device_mb, 1),
            }
            artifact = store.commit(name, key, work, {**manifest, **cost})
        console.print(f"{title}: {duration(seconds)}", markup=False)
        return artifact, False

    def _keep_young(self) -> None:
        """No leaderboard names this run's artifacts before it ends: `prune` is to take none of them meanwhile."""
        for planned in (planned for run in self.plan.runs for planned in run.stages):
            self.plan.store.touch(planned.stage.name, planned.key)
            if planned.score_key is not None:
                self.plan.store.touch(planned.score_name, planned.score_key)

    def _execute(self, run: PlannedRun, planned: PlannedStage, work: Path, title: str) -> Mapping[str, Any]:
        """Make an artifact in `work`, with the whole team where it is trained; what its manifest says of it."""
        self._require_weights(planned)
        if self._team and planned.stage.yields == Kind.WEIGHTS:
            self._team.begin(self.plan.runs.index(run), run.stages.index(planned))
            try:
                costs = self._call(run, planned, work, title)
            except Exception as error:
                said = one_line(error, self.plan.store.root, packages_of(run.method, planned.stage.run))
                self._team.agree(said)
                raise
            if (failure := self._team.agree(None)) is not None:
                raise MethodError(failure)
        else:
            costs = self._call(run, planned, work, title)
        self._require_data(run, planned, work)
        return {
            **costs,
            "kind": planned.stage.yields.value,
            "run": planned.stage.run,
            "settings": plain(planned.stage.settings),
            "settings_type": f"{type(planned.stage.settings).__module__}:{type(planned.stage.settings).__qualname__}",
            "classes": list(self.plan.dataset.classes),
            "megapixels": megapixels(self.plan.dataset, planned.stage.splits),
            "conversion": asdict(self.plan.dataset.conversion()),
            "inputs": {role: up.key for role, up in planned.inputs.items()},
            "max_iterations": self.plan.config.runtime.max_iterations,
            "seed": run.seed if planned.stage.seeded else None,
            "provenance": provenance.collect(self._get_fabric().device) | {"weights": planned.weights},
        }

    def _require_weights(self, planned: PlannedStage) -> None:
        """DataError where pretrained weights are not those that the key was made of: on another machine, say."""
        for reference, content in planned.weights.items():
            if fingerprint(reference, self.plan.config.runtime.weights_root) != content:
                raise DataError(
                    f"the weights {reference} are not here, or others than the command began with; give all machines the "
                    "same files, and run it again"
                )

    def _require_data(self, run: PlannedRun, planned: PlannedStage, work: Path) -> None:
        """DataChangedError, and nothing is kept of `work`, where a stage's data were changed while it was made."""
        try:
            self.plan.require_data("images", planned.stage.splits)
            if Supervision.MASKS in run.method.supervision:
                self.plan.require_data("masks", planned.stage.splits)
        except DataChangedError:
            rmtree(work)  # a rerun with the former data would go on with it
            raise

    def _call(
        self, run: PlannedRun, planned: PlannedStage, work: Path, title: str, checkpoints: Path | None = None
    ) -> dict[str, Any]:
        """The stage's function; arguments as `RunContext`'s. Returns what its trainings took, its `access`, and how
        it was divided.

        What does not fit the memory is tried again in smaller batches, and goes on from what is finished.
        """
        from benchmark.execution.access import access_record
        from benchmark.execution.fitting import Fit
        from datasets.files.guard import files_opened

        stage, plan = planned.stage, self.plan
        trained = next((p for p in settings_parts(stage.settings) if isinstance(p, TrainConfig)), None)
        setting = trained and key_of(run.config, trained)
        shared = bool(self._team) and stage.yields == Kind.WEIGHTS
        fit = Fit(self.plan.config.runtime, title, f"{setting or 'train'}.batch_size", alone=not shared)
        with files_opened() as opened:
            while True:
                try:
                    costs = self._attempt(run, planned, work, title, checkpoints, fit)
                    break
                except Exception as error:
                    if not out_of_memory(error):
                        raise
                    fit.divide(error)
                release_unused()
        inputs = {role: self._input(up).path for role, up in planned.inputs.items()}
        closed = Supervision.MASKS not in run.method.supervision
        access = access_record(plan.dataset, opened, closed, inputs, work, plan.store.root)
        return {**costs, **fit.recorded(), "access": access}

    def _attempt(
        self,
        run: PlannedRun,
        planned: PlannedStage,
        work: Path,
        title: str,
        checkpoints: Path | None,
        fit: Fit,
    ) -> Mapping[str, float]:
        from contextlib import nullcontext

        from benchmark.execution.context import RunContext, mask_dense_map
        from benchmark.execution.training import seed_everything
        from datasets.files.guard import masks_closed

        plan, stage = self.plan, planned.stage
        may_see_masks = Supervision.MASKS in run.method.supervision
        inputs = {
            role: Artifact(self._input(up).path, up.key, up.stage.yields, up.stage.settings)
            for role, up in planned.inputs.items()
        }
        seed = run.seed if stage.seeded else 0
        index = plan.runs.index(run)
        progress = stage_progress(title)
        kind: type[RunContext] = RunContext
        function = function_of(stage.run)
        if planned.foreground:
            from benchmark.execution.foreground import ForegroundContext, run_twice

            kind, function = ForegroundContext, partial(run_twice, function)
        context = kind(
            fabric=self._get_fabric(),
            runtime=plan.config.runtime,
            view=plan.dataset.training_view(),
            inputs=inputs,
            output=work,
            seed=seed,
            progress=progress,
            masks=mask_dense_map(plan.dataset) if may_see_masks else None,
            checkpoints=checkpoints,
            by_all=self._team is None or stage.yields == Kind.WEIGHTS,
            log_metrics=lambda values, iteration: self._log(
                index, {f"{stage.name}/{name}": value for name, value in values.items()}, iteration
            ),
            fit=fit,
        )
        data = plan.dataset
        closed = nullcontext() if may_see_masks else masks_closed(data.mask_directories(), data.mask_files())
        seed_everything(seed)
        try:
            with closed:
                function(context, stage.settings)
        finally:
            progress.stop()  # a bar that a failure left on the screen would break the next one's
        return context.training_costs()

    def _score(
        self, planned: PlannedStage, artifact: StoredArtifact, work: Path, title: str
    ) -> Mapping[str, Any]:
        from benchmark.evaluation.classifier import score_classifications
        from benchmark.evaluation.evaluator import score_cams, score_label_maps

        config, dataset, kind = self.plan.config.evaluation, self.plan.dataset, planned.stage.yields
        progress = stage_progress(title)
        progress.start(len(dataset.ids(planned.split)), "img")
        counts = work / "counts.parquet"
        try:
            if kind == Kind.IMAGE_SCORES:
                scores = score_classifications(artifact.path, dataset, planned.split, stage=planned.scored_as)
            elif kind == Kind.CAM:
                scores = score_cams(
                    artifact.path,
                    dataset,
                    planned.split,
                    planned.stage.fixed_threshold,
                    stage=planned.scored_as,
                    counts_path=counts,
                    held_out_fraction=config.held_out,
                    sweep_max=config.sweep_max,
                    boundary_tolerance=config.boundary_tolerance,
                    inspect=planned.inspected,
                    progress=progress.advance,
                )
            else:
                scores = score_label_maps(
                    artifact.path,
                    dataset,
                    planned.split,
                    stage=planned.scored_as,
                    counts_path=counts,
                    boundary_tolerance=config.boundary_tolerance,
                    inspect=planned.inspected,
                    judge=planned.judged,
                    progress=progress.advance,
                )
        finally:
            progress.stop()
        if planned.needs_masks:
            self.plan.require_data("masks", (planned.split,))
        return {
            "kind": "scores",
            "rows": [asdict(row) for row in scores.rows],
            "notes": scores.notes,
            "scored": kind.value,
            "classes": list(dataset.classes),
            "megapixels": megapixels(dataset, (planned.split,)),
        }

    def references(self) -> list[dict[str, Any]]:
        """Metric rows of the reference predictions on every scored split; `reference` names the row.

        What fails (a bad mask) goes to `reference_failures` and costs its own rows only.
        """
        plan, rows = self.plan, []
        for stage, split in (("cam", "train"), ("pseudo_label", "train"), ("segmentation", "val")):
            if plan.dataset.masked(split):
                try:
                    artifact, _ = self.obtain(
                        "score-references",
                        plan.reference_key(stage, split),
                        f"references · {split}",
                        partial(self._reference_rows, stage, split),
                    )
                except Exception as error:
                    if was_told():
                        raise
                    reason = f"references · {split}: {one_line(error, plan.store.root)}"
                    if reason not in self.reference_failures:  # two stages are scored on train
                        self.reference_failures.append(reason)
                else:
                    rows += artifact.manifest["rows"]
        return rows

    def _reference_rows(self, stage: str, split: str, work: Path) -> Mapping[str, Any]:
        from benchmark.evaluation.reference import reference_rows

        found = reference_rows(self.plan.dataset, split, stage=stage)
        rows = [{"reference": name, **asdict(row)} for name, scores in found.items() for row in scores.rows]
        return {"kind": "scores", "rows": rows}

    def _get_fabric(self) -> Fabric:
        if self._fabric is None:
            self._fabric = make_fabric(self.plan.config.runtime)
        return self._fabric
