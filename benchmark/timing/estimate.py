"""How long stages and their scoring take, by stored ones like them, or by recorded ones on a machine of known speed."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from benchmark.config import plain
from benchmark.console import duration
from benchmark.planning.changes import differences
from benchmark.planning.discarded import Unneeded
from benchmark.planning.plan import Plan, PlannedStage
from benchmark.store import read_manifest
from benchmark.timing.reference_times import ReferenceTimes, Timed, reference_times
from benchmark.timing.remaining import Remaining
from datasets.base import Dataset
from datasets.files.decoding import image_size
from methods.base import Kind

PROBED = 20
"""Images whose sizes are read to know those of a data set."""


class Expected(NamedTuple):
    """recorded: whether it is told by the times recorded elsewhere, not by this store's."""

    seconds: float
    recorded: bool


@dataclass(frozen=True)
class TimeEstimate:
    """seconds: of all that is to do, side by side in as many processes as were asked for
    todo:      stages to do; unknown: those of them, or of their scorings, of which nothing is known
    machine:   whose recorded times have a part in it; "": none has
    scaled:    whether these were brought to this machine's speed
    """

    seconds: float
    todo: int
    unknown: int
    machine: str = ""
    scaled: bool = False

    def __str__(self) -> str:
        if self.todo and self.unknown >= self.todo:
            return "nothing is known yet of how long this takes"
        if not self.machine:
            by = ", by the times of earlier ones"
        elif self.scaled:
            by = " on this machine, estimated from its speed"
        else:
            by = f" on the machine of reference ({self.machine}); this one's speed is measured when it runs"
        plural = "s" if self.unknown != 1 else ""
        rest = f"; without {self.unknown} stage{plural} of which nothing is known" if self.unknown else ""
        return f"about {duration(self.seconds)}{by}{rest}"


def time_estimate(plan: Plan, speed: float | None = None, workers: int = 1) -> TimeEstimate:
    """How long what a plan has still to do will take; arguments as those of `Estimates` and `Remaining`."""
    estimates = Estimates(plan, speed)
    seconds, needs = estimates.graph()
    unknown = {planned.key for planned, found in estimates.parts() if found is None}
    recorded = any(found is not None and found.recorded for _, found in estimates.parts())
    return TimeEstimate(
        Remaining(seconds, needs, workers).left(0.0),
        sum(artifact is None for _, artifact in plan.artifacts()),
        len(unknown),
        estimates.reference.machine if recorded else "",
        speed is not None,
    )


class Estimates:
    """What the stages of a plan, and their scorings, are expected to take.

    As the stored ones of the same function, on data of the same classes, whose settings are most like its own: the
    median of their seconds, in proportion to the work. Where the store has none, as the recorded ones of the scale,
    in proportion to the work and the machines' speeds.
    """

    def __init__(self, plan: Plan, speed: float | None = None) -> None:
        """speed: this machine's, see `benchmark.timing.machine_speed`; None: recorded times are taken as they are"""
        self.plan = plan
        self.reference: ReferenceTimes = reference_times(plan.config.scale.name)
        self._slowness = self.reference.speed / speed if speed else 1.0
        self._classes = list(plan.dataset.classes)
        self._stored: dict[str, dict[str, list[Timed]]] = {}
        self._megapixels: dict[tuple[str, ...], float] = {}
        self._found: dict[tuple[str, str, float, frozenset[str]], Expected | None] = {}

    def stage(self, planned: PlannedStage) -> Expected | None:
        """Of making a stage's artifact, whether it is stored or not; None: nothing is known."""
        function, work, settings = self.described(planned)
        return self._expected(planned.stage.name, function, work, settings)

    def scoring(self, planned: PlannedStage) -> Expected | None:
        """Of scoring it."""
        function, work = self.described_scoring(planned)
        return self._expected(planned.score_name, function, work, frozenset())

    def parts(self) -> list[tuple[PlannedStage, Expected | None]]:
        """Every artifact and scoring that is still to be made, with what it is expected to take."""
        return [(planned, found) for planned, _, _, found in self._todo]

    def graph(self) -> tuple[dict[str, float | None], dict[str, list[str]]]:
        """The same by keys, for `Remaining`: seconds of each, and the keys each one needs. Keys are those of
        artifacts and of scores."""
        seconds = {key: found and found.seconds for _, key, _, found in self._todo}
        return seconds, {key: needs for _, key, needs, _ in self._todo}

    @cached_property
    def _todo(self) -> list[tuple[PlannedStage, str, list[str], Expected | None]]:
        found, seen = [], set()
        masked, unneeded = functools.cache(self.plan.dataset.masked), Unneeded(self.plan)
        for planned in (planned for run in self.plan.runs for planned in run.stages):
            if planned.key not in seen and unneeded.found(planned) is None:
                needs = [up.key for up in planned.inputs.values()]
                found.append((planned, planned.key, needs, self.stage(planned)))
            seen.add(planned.key)
            key = planned.score_key
            if key is None or key in seen or not planned.is_scored(masked):
                continue
            seen.add(key)
            if self.plan.store.find(planned.score_name, key) is None:
                found.append((planned, key, [planned.key], self.scoring(planned)))
        return found

    def described(self, planned: PlannedStage) -> tuple[str, float, frozenset[str]]:
        """A stage's function, work and settings."""
        settings = plain(planned.stage.settings)
        most = self.plan.config.runtime.max_iterations
        work = work_of(planned.stage.yields, settings, self.megapixels(planned.stage.splits), most)
        return planned.stage.run, work, leaves(settings)

    def described_scoring(self, planned: PlannedStage) -> tuple[str, float]:
        """What scores it, and the work of that."""
        return scoring_of(planned.stage.yields), self.megapixels((planned.split,))

    def megapixels(self, splits: tuple[str, ...]) -> float:
        """Of all images of the splits."""
        if splits not in self._megapixels:
            self._megapixels[splits] = megapixels(self.plan.dataset, splits)
        return self._megapixels[splits]

    def _expected(self, name: str, function: str, work: float, settings: frozenset[str]) -> Expected | None:
        asked = (name, function, work, settings)
        if asked not in self._found:
            if name not in self._stored:
                self._stored[name] = self._timed(name)
            own = nearest(self._stored[name].get(function, ()), work, settings)
            recorded = nearest(self.reference.times.get(function, ()), work, settings)
            if own is not None:
                self._found[asked] = Expected(own, recorded=False)
            elif recorded is not None:
                self._found[asked] = Expected(recorded * self._slowness, recorded=True)
            else:
                self._found[asked] = None
        return self._found[asked]

    def _timed(self, name: str) -> dict[str, list[Timed]]:
        """What the store has of the stages or scorings of a name, by function. Of the data of other classes, of
        what was resumed (its seconds are those of the last part) and of unknown size: nothing."""
        found: dict[str, list[Timed]] = {}
        for path in sorted(self.plan.store.root.glob(f"artifacts/{name}/*/manifest.json")):
            try:
                manifest = read_manifest(path)
            except (OSError, ValueError):  # being written, pruned meanwhile, or damaged
                continue
            if manifest.get("resumed") or manifest.get("classes") != self._classes:
                continue
            if not (size := manifest.get("megapixels")):
                continue
            if "scored" in manifest:
                timed = Timed(size, frozenset(), manifest["seconds"])
                found.setdefault(scoring_of(manifest["scored"]), []).append(timed)
            else:
                most = manifest.get("max_iterations", 0)
                work = work_of(manifest["kind"], manifest["settings"], size, most)
                timed = Timed(work, leaves(manifest["settings"]), manifest["seconds"])
                found.setdefault(manifest["run"], []).append(timed)
        return found


def nearest(timed: Sequence[Timed], work: float, settings: frozenset[str]) -> float | None:
    """Seconds of those with the fewest other settings, and of these with the nearest work, in proportion to it; the
    median; 0 where there is no work. None without any."""

    def distance(one: Timed) -> tuple[int, float]:
        return len(settings - one.settings), abs(math.log(work / one.work))

    if not timed or not work:
        return 0.0 if timed else None
    least = min(map(distance, timed))
    return statistics.median(t.seconds * work / t.work for t in timed if distance(t) == least)


def work_of(kind: str, settings: Mapping[str, Any], megapixels: float, most: int = 0) -> float:
    """What a stage's time is proportional to, as far as one knows without running it: megapixels that the steps of
    its trainings take in, or those of the images that it goes through.

    settings: as plain data; megapixels: of the images of its splits; most: `runtime.max_iterations`
    """
    if kind != Kind.WEIGHTS:
        return megapixels
    steps = sum(
        min(t["iterations"], most or t["iterations"]) * t["batch_size"] * t["recipe"]["crop"] ** 2
        for t in _trainings(settings)
    )
    return steps / 1e6 or 1.0  # none: a checkpoint is read in a training's place


def _trainings(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of settings that describe a training (`methods.layers.config.TrainConfig`)."""
    if settings.keys() >= {"iterations", "batch_size", "recipe"}:
        yield settings
    else:
        for value in settings.values():
            if isinstance(value, Mapping):
                yield from _trainings(value)


def leaves(settings: Mapping[str, Any]) -> frozenset[str]:
    """ "key=value" of every leaf of plain data."""
    return frozenset(differences(settings, {}))


def scoring_of(kind: str) -> str:
    """What stands for the function where an artifact of a kind is scored."""
    return f"scoring of {kind}"


def megapixels(dataset: Dataset, splits: tuple[str, ...]) -> float:
    """Of all images of the splits, by the sizes of some of them. Raises DataError for one that cannot be read."""
    ids = [sample_id for split in splits for sample_id in dataset.ids(split)]
    if not ids:
        return 0.0
    probe = ids[:: max(1, len(ids) // PROBED)]
    sizes = [image_size(dataset.sample(sample_id).image) for sample_id in probe]
    return sum(height * width for height, width in sizes) / len(probe) * len(ids) / 1e6
