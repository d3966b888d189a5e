"""`profile`: operations, parameters, speed and memory of every method's networks, and what follows them.

It needs no trained weights, looks at no stored artifact, and at the data for names and sizes only: networks have
random weights, which change neither counts nor speed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmark import provenance
from benchmark.config import RunConfig, plain
from benchmark.console import console, stage_progress
from benchmark.execution.distributed import make_fabric
from benchmark.failures import one_line, packages_of
from benchmark.planning.changes import run_identity
from benchmark.planning.graph import without_profile
from benchmark.planning.method_info import method_info
from benchmark.profiling.complexity import Complexity, forward_pass_complexity, stage_forward_passes
from benchmark.profiling.counts import usual_size
from benchmark.profiling.speed import Speed, measure
from benchmark.store import content_key
from datasets import open_dataset
from datasets.base import DataError, TrainingView
from methods.base import ForwardPass, NotRunnable, Stage, settings_of_inputs
from methods.registry import find_method
from results.aggregate import KEYS
from results.complexity import COUNTS, FOLDER, STAGE
from results.io import RECORDS_FILE, read_run, write_records
from results.schema import Record, RunRecord

if TYPE_CHECKING:
    from datasets.base import Dataset

ASSUMED_SIZE = (375, 500)
"""Height and width of most VOC images, for data that are not on this machine."""
WEIGHTS = "random"


@dataclass(frozen=True)
class Options:
    """counts_only: leave out what depends on the hardware
    seconds: that the repeats of one measurement take at least
    limit:   seconds of a pass from which on it is not timed
    """

    counts_only: bool = False
    seconds: float = 0.2
    limit: float = 30.0


@dataclass(frozen=True)
class Measured:
    """What was found of a forward pass; its network is gone."""

    forward_pass: ForwardPass
    key: str
    complexity: Complexity
    speed: Speed


@dataclass
class Profile:
    """Records and runs of a profile, as those of a run folder; `hardware` names the folder."""

    hardware: str
    records: list[Record] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)


def profile(config: RunConfig, options: Options) -> Profile:
    """Profile the configuration's methods, each with its own refiner and segmentation network.

    Raises DataError where the data set's classes are not known without its files, and these are not there.
    """
    dataset = open_dataset(config.dataset)
    size = image_size_of(dataset)
    of: dict[str, tuple[()]] = {"train": (), "val": ()}
    view = TrainingView(config.dataset.name, dataset.classes, of, generated=dataset.generated)
    device = make_fabric(config.runtime).device
    found = provenance.collect(device)
    name = COUNTS if options.counts_only else provenance.hardware_name(found["hardware"])
    result = Profile(name)
    meter = Meter(len(view.classes), size, device, options, name)
    for method_name in config.method:
        method = find_method(method_name)
        run = RunRecord(
            **run_identity(config, method_name, -1),
            status="done",
            method_info=method_info(method),
            settings={"method": plain(config.method[method_name]), "protocol": plain(config.protocol)},
            provenance={**found, "hardware_name": name, "precision": "32-true"},
        )
        measured: list[tuple[Stage, Measured]] = []
        stages: Sequence[Stage] = ()
        try:
            stages = method.stages(config.method[method_name], view, config.shared)
            progress = stage_progress(f"{method_name} · profile")
            progress.start(len(stages), "stages")
            try:
                for stage in stages:
                    inputs = settings_of_inputs(stage, stages)
                    measured += [(stage, forward_pass) for forward_pass in meter.stage(stage, inputs)]
                    progress.advance(1)
            finally:
                progress.stop()
        except NotRunnable as error:
            run = replace(run, status="not run", reason=str(error))
        except Exception as error:  # one method's failure becomes its row
            reason = one_line(error, Path(config.runtime.store), packages_of(method))
            run = replace(run, status="failed", reason=reason)
        described = [_not_counted(stage, size) for stage in without_profile(stages)]
        described += [_description(stage, m) for stage, m in measured]
        result.runs.append(replace(run, stages=described))
        result.records += [
            record for _, m in measured for record in _records(run_identity(config, method_name, -1), m)
        ]
    return result


class Meter:
    """Counts and measures stages' forward passes; what several methods share, once."""

    def __init__(
        self, classes: int, size: tuple[int, int], device: torch.device, options: Options, hardware: str
    ) -> None:
        """hardware: its name, part of the keys"""
        self._classes, self._size, self._device, self._options = classes, size, device, options
        self._hardware = hardware
        self._known: dict[str, list[Measured]] = {}

    def stage(self, stage: Stage, inputs: Mapping[str, Any]) -> list[Measured]:
        """Everything a stage passes images through; nothing where it has no profile.

        inputs: settings of its inputs' stages by role
        """
        if stage.profile is None:
            return []
        parts = {
            "profile": stage.profile,
            "settings": plain(stage.settings),
            "inputs": plain(inputs),
            "classes": self._classes,
            "size": self._size,
            "hardware": self._hardware,
        }
        key = content_key(parts)
        if key not in self._known:
            self._known[key] = self._measure(stage, inputs, key)
        return self._known[key]

    def _measure(self, stage: Stage, inputs: Mapping[str, Any], key: str) -> list[Measured]:
        with torch.device("meta"):
            forward_passes = stage_forward_passes(stage, inputs, self._classes, self._size)
            counts = [forward_pass_complexity(forward_pass) for forward_pass in forward_passes]
        speeds = [Speed()] * len(counts)
        if not self._options.counts_only:
            torch.manual_seed(0)
            least, limit = self._options.seconds, self._options.limit
            again = stage_forward_passes(stage, inputs, self._classes, self._size)
            speeds = [measure(p, self._device, least, limit) for p in again]
        return [
            Measured(replace(forward_pass, module=None, finish=None), f"{key}-{number}", count, speed)
            for number, (forward_pass, count, speed) in enumerate(zip(forward_passes, counts, speeds))
        ]


def image_size_of(dataset: Dataset) -> tuple[int, int]:
    """`usual_size`; `ASSUMED_SIZE`, which is said, where the images are not there.

    Raises DataError where not even the classes are known then.
    """
    try:
        dataset.prepare()
        return usual_size(dataset)
    except DataError as error:
        if not hasattr(dataset, "classes"):
            raise
        height, width = ASSUMED_SIZE
        console.print(f"images of {height}x{width} are assumed: {error}", markup=False)
        return ASSUMED_SIZE


def write_profile(found: Profile, run_dir: Path) -> Path:
    """Write a profile beside a run; other entries' rows that were measured there before stay. Returns the folder."""
    folder = run_dir / FOLDER / re.sub(r"[^A-Za-z0-9.]+", "-", found.hardware).strip("-")
    records, runs = list(found.records), list(found.runs)
    if (folder / RECORDS_FILE).exists():
        before, again = read_run(folder), {tuple(getattr(run, key) for key in KEYS) for run in runs}
        runs = [RunRecord(**c) for c in before.runs if tuple(c[key] for key in KEYS) not in again] + runs
        entries = before.records[KEYS].apply(tuple, axis="columns", result_type="reduce")
        kept = before.records[~entries.isin(again)]
        records = [Record(**{str(k): v for k, v in row.items()}) for row in kept.to_dict("records")] + records
    write_records(folder, records, runs)
    return folder


def _description(stage: Stage, measured: Measured) -> dict[str, Any]:
    forward_pass, speed = measured.forward_pass, measured.speed
    return {
        "name": stage.name,
        "key": measured.key,
        "kind": STAGE,
        "network": forward_pass.network,
        "covers": forward_pass.covers,
        "height": forward_pass.size[0],
        "width": forward_pass.size[1],
        "weights": WEIGHTS if measured.complexity.parameters else "none",
        "repeats": speed.repeats,
        "reason": speed.reason,
    }


def _not_counted(stage: Stage, size: tuple[int, int]) -> dict[str, Any]:
    """A row without figures, so that those of the method's other networks are not taken for all of it."""
    return {
        "name": stage.name,
        "key": f"not-counted-{stage.name}",
        "kind": STAGE,
        "network": f"network of stage {stage.name}",
        "covers": "not counted",
        "height": size[0],
        "width": size[1],
        "weights": "none",
        "repeats": 0,
        "reason": "its stage has no `profile`, see `Stage` in methods/base.py",
    }


def _records(identity: dict[str, Any], measured: Measured) -> list[Record]:
    count, speed = measured.complexity, measured.speed
    values: dict[str, float | None] = {}
    if count.parameters:
        values |= {"macs_g": count.layer_macs / 1e9, "macs_attention_g": count.macs / 1e9}
        values["parameters_m"] = count.parameters / 1e6
    if speed.seconds is not None and speed.batch_seconds is not None:
        values |= {"seconds": speed.seconds, "seconds_iqr": speed.seconds_iqr}
        values["images_per_second"] = 1 / speed.seconds
        values["images_per_second_best"] = speed.batch / speed.batch_seconds
        values["best_batch"] = speed.batch
    values |= {"host_memory_mb": speed.host_memory_mb, "device_memory_mb": speed.device_memory_mb}
    variant = f"{measured.forward_pass.network}: {measured.forward_pass.covers}"
    return [
        Record(
            **identity,
            stage=STAGE,
            variant=variant,
            split="",
            metric=metric,
            value=float(value),
            key=measured.key,
        )
        for metric, value in values.items()
        if value is not None
    ]
