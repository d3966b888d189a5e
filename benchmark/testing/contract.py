"""What every method keeps, as a test class. With pytest, a method's own tests are two lines:

    from wsss_benchmark.testing import MethodContract

    class TestMine(MethodContract):
        method = "mine"

It needs settings at scale nano and no data: its few pictures are drawn. In half a minute a method is planned at every
scale and protocol, its networks are counted, it is run as far as `until` with two steps a training, and all of it is
run on a simulated GPU.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import datasets
from benchmark.config import DEFAULT_DATASET, PROTOCOLS, SCALES, RunConfig, compose, plain
from benchmark.execution import training
from benchmark.execution.runner import Runner, RunResult
from benchmark.planning.code_version import function_fault
from benchmark.planning.graph import check_order, without_profile
from benchmark.planning.plan import Plan, make_plan
from benchmark.profiling.complexity import forward_pass_complexity, stage_forward_passes
from benchmark.profiling.speed import passing, pictures
from benchmark.store import content_key
from benchmark.testing.placement import run_on_simulated_cuda
from datasets.base import TrainingView
from datasets.files import cores
from datasets.files.images import image_size
from methods.artifacts import CamReader
from methods.base import Inputs, Kind, Method, NotRunnable, Stage, settings_of_inputs
from methods.registry import find_method
from methods.setting_rows import setting_rows

STEPS = 2
SCALE = "nano"
IMAGE = {"nano": (40, 56), "small": (120, 160), "paper": (375, 500)}
"""(H, W) of an image that passes through the networks."""


class InterruptionError(Exception):
    """Stands for a kill in the middle of a training."""


class MethodContract:
    """method: the registry name; until: kind of artifact at which the trial run stops, where the method has one
    settings: overrides of the trial run, such as "method.mine.train.batch_size=4"
    """

    method: ClassVar[str]
    until: ClassVar[str] = Kind.CAM.value
    settings: ClassVar[Sequence[str]] = ()

    @pytest.fixture(scope="class")
    @classmethod
    def name(cls) -> str:
        return cls.method

    @pytest.fixture(scope="class")
    @classmethod
    def overrides(cls) -> Sequence[str]:
        return cls.settings

    @pytest.fixture(scope="class")
    @classmethod
    def trial(cls, name: str, overrides: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Trial:
        return Trial(name, cls.until, overrides, tmp_path_factory.mktemp(name))

    @pytest.fixture(scope="class")
    @classmethod
    def done(cls, trial: Trial) -> RunResult:
        """The trial run without an interruption."""
        result = trial.run("whole")
        assert result.status == "done", result.reason
        return result

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_it_plans_at_every_scale(self, name: str, protocol: str) -> None:
        """Its functions exist, stages follow each other, and settings make the same keys each time."""
        method = find_method(name)
        for preset in method.presets:
            config, view = _at(name, preset, protocol)
            stages, again = (_declared(method, config, view) for _ in range(2))
            check_order(stages, name)
            for stage in stages:
                for address in filter(None, (stage.run, stage.profile)):
                    fault = function_fault(address)
                    assert fault == "", f"{preset}, stage {stage.name}: {fault}"
            keys = [[content_key(plain(s.settings)) for s in each] for each in (stages, again)]
            assert keys[0] == keys[1], f"{preset}: settings differ from one call of stages() to the next"

    def test_its_sources_are_of_its_settings(self, name: str) -> None:
        """`sources.yaml`, where there is one, can be read and names settings that there are. A value may have none."""
        assert setting_rows(find_method(name))

    def test_its_networks_are_counted(self, name: str) -> None:
        """Each stage with a network says which; all are counted on the meta device."""
        method = find_method(name)
        for preset in SCALES.keys() & method.presets.keys():
            config, view = _at(name, preset, "paper")
            stages = _declared(method, config, view)
            missing = [stage.name for stage in without_profile(stages)]
            assert missing == [], f"{preset}: stages that run a network and have no `profile`"
            labels: list[tuple[Any, ...]] = []
            with torch.device("meta"):
                for stage in (stage for stage in stages if stage.profile is not None):
                    labels += _count(
                        stage, settings_of_inputs(stage, stages), len(view.classes), IMAGE[config.scale.name]
                    )
            assert len(set(labels)) == len(labels), f"{preset}: rows of the table that are called alike"

    def test_its_profile_can_be_measured(self, name: str) -> None:
        """At scale nano images pass through each network, which they do not change, and what follows takes the output."""
        config, view = _at(name, SCALE, "paper")
        stages = _declared(find_method(name), config, view)
        for stage in stages:
            inputs, classes = settings_of_inputs(stage, stages), len(view.classes)
            for forward_pass in (
                stage_forward_passes(stage, inputs, classes, IMAGE[SCALE]) if stage.profile else ()
            ):
                where, module = (
                    f"stage {stage.name}, {forward_pass.network}: {forward_pass.covers}",
                    forward_pass.module,
                )
                if module is None:  # a CRF alone
                    assert forward_pass.finish is not None, f"{where}: neither a network nor what follows one"
                    passing(forward_pass, pictures(1, forward_pass.size, torch.device("cpu")))()
                    continue
                assert not module.training, f"{where}: call eval()"
                before = {k: v.clone() for k, v in module.state_dict().items()}
                passing(forward_pass, pictures(2, forward_pass.size, torch.device("cpu")))()
                after = module.state_dict()
                assert all(torch.equal(v, after[k]) for k, v in before.items()), f"{where}: a pass changes it"

    def test_it_trains(self, done: RunResult) -> None:
        """Every stage that yields weights took its steps, with losses that are finite."""
        trained = [s for s in done.run.stages if s.stage.yields == Kind.WEIGHTS]
        for stage in trained:
            histories = _histories(done, stage.stage.name)
            assert histories, f"stage {stage.stage.name} yields weights and did not call context.train"
            for history in histories:
                where = f"stage {stage.stage.name}: {history}"
                assert history[-1]["iteration"] == STEPS, where
                assert all(math.isfinite(value) for point in history for value in point.values()), where

    def test_its_cams_fit_the_images(self, done: RunResult, trial: Trial) -> None:
        """Every training image has one map for each of its classes, in [0, 1], and knows the image's size."""
        samples = {s.id: s for s in trial.view().samples("train")}
        for stage in (s.stage for s in done.run.stages if s.stage.yields == Kind.CAM):
            reader = CamReader(done.artifacts[stage.name].path)
            assert set(reader.ids) == set(samples), f"stage {stage.name}: images"
            for sample_id, cam in reader:
                where = f"stage {stage.name}, image {sample_id}"
                assert cam.classes == samples[sample_id].labels, where
                assert cam.maps.ndim == 3, f"{where}: (classes, height, width)"
                assert len(cam.maps) == len(cam.classes), f"{where}: a map a class"
                assert ((cam.maps >= 0) & (cam.maps <= 1)).all(), f"{where}: values in [0, 1]"
                assert cam.size == image_size(samples[sample_id].image), where

    def test_it_resumes(self, done: RunResult, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
        """Interrupted after a step of each training and run again, it gives the same files, byte for byte."""
        interrupted = _interrupt_each_training(monkeypatch)
        trainings = sum(len(_histories(done, name)) for name in done.artifacts)
        result = trial.run("interrupted")
        for _ in range(trainings):
            if result.status == "failed" and InterruptionError.__name__ in result.reason:
                result = trial.run("interrupted")
        assert result.status == "done", result.reason
        assert len(interrupted) == trainings
        for name, artifact in done.artifacts.items():
            assert result.artifacts[name].manifest["files"] == artifact.manifest["files"], f"stage {name}"

    def test_it_leaves_no_tensor_on_the_cpu(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of its stages run on a simulated CUDA device, where tensors of two devices do not mix."""
        monkeypatch.setattr(cores, "_limit", 1)  # starting processes for a CRF takes longer than its work
        plan = Trial(name, self.until, (), tmp_path).plan("store")
        (run,) = plan.runs
        assert run.status == "planned", run.reason
        run_on_simulated_cuda(plan, run, tmp_path / "simulated")


class Trial:
    """Runs of a method on a few drawn pictures, at scale nano, with `STEPS` steps a training."""

    def __init__(self, name: str, until: str, settings: Sequence[str], folder: Path) -> None:
        self.folder = folder
        self._name, self._until = name, until
        self._settings = [
            f"dataset.root={folder / 'data'}",
            *("dataset.train=8", "dataset.val=4", "runtime.device=cpu", "runtime.processes=1"),
            *(f"runtime.max_iterations={STEPS}", "runtime.checkpoint_every=1", *settings),
        ]

    def view(self) -> TrainingView:
        return self.plan("view").dataset.training_view()

    def plan(self, store: str, until: str | None = None) -> Plan:
        place = f"runtime.store={self.folder / store}"
        return make_plan(compose([self._name], None, SCALE, overrides=[*self._settings, place]), [0], until)

    def run(self, store: str) -> RunResult:
        (run,) = self.plan(store).runs
        if run.status != "planned":
            pytest.fail(run.reason)
        yields = {planned.stage.yields.value for planned in run.stages}
        (result,) = Runner(self.plan(store, self._until if self._until in yields else None)).run()
        return result


def _at(name: str, preset: str, protocol: str) -> tuple[RunConfig, TrainingView]:
    """Settings of a scale, or of a data set at it ("paper/coco2014"), and the data set's names without its files."""
    scale, _, dataset = preset.partition("/")
    config = compose([name], dataset or DEFAULT_DATASET[scale], scale, protocol)
    opened = datasets.open_dataset(config.dataset)
    none: dict[str, tuple[()]] = {"train": (), "val": ()}
    return config, TrainingView(opened.name, opened.classes, none, generated=opened.generated)


def _declared(method: Method, config: RunConfig, view: TrainingView) -> Sequence[Stage]:
    """The method's stages; none where it says what it needs that the data do not have."""
    try:
        return method.stages(config.method[method.name], view, config.shared)
    except NotRunnable as needed:
        assert str(needed), "NotRunnable says what is needed"  # noqa: PT017
        return ()


def _count(stage: Stage, inputs: Inputs, classes: int, size: tuple[int, int]) -> Iterator[tuple[Any, ...]]:
    forward_passes = stage_forward_passes(stage, inputs, classes, size)
    # saliency: maps in a folder, or of a detector that is no network of torch's
    assert forward_passes or stage.yields == Kind.SALIENCY, f"stage {stage.name}: its profile is empty"
    for forward_pass in forward_passes:
        where = f"stage {stage.name}, {forward_pass.network}: {forward_pass.covers}"
        yield forward_pass.network, forward_pass.covers, forward_pass.size
        if forward_pass.module is None:
            assert forward_pass.finish is not None, f"{where}: neither a network nor what follows one"
            continue
        assert {p.device.type for p in forward_pass.module.parameters()} == {"meta"}, (
            f"{where}: built elsewhere"
        )
        counted = forward_pass_complexity(forward_pass)
        assert 0 < counted.layer_macs <= counted.macs, where
        assert counted.parameters == sum(p.numel() for p in forward_pass.module.parameters()), where


def _histories(done: RunResult, stage: str) -> list[list[dict[str, float]]]:
    """Losses of each of a stage's trainings."""
    files = sorted(done.artifacts[stage].path.glob("losses-*.json"))
    return [json.loads(file.read_text()) for file in files]


def _interrupt_each_training(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Every training fails after its first step, once; returns the checkpoints of those that did."""
    whole: Any = training.train
    interrupted = set[Path]()

    def train(*arguments: Any, checkpoint: Path, **options: Any) -> int:
        *before, batches, iterations, learning_rate = arguments

        def cut(start: int, stop: int) -> Iterator[Any]:
            if checkpoint in interrupted:
                yield from batches(start, stop)
            else:
                interrupted.add(checkpoint)
                yield from islice(batches(start, stop), 1)
                raise InterruptionError

        return whole(*before, cut, iterations, learning_rate, checkpoint=checkpoint, **options)

    monkeypatch.setattr(training, "train", train)
    return interrupted
