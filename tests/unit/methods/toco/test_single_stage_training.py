"""The training of DSKD-GC and ToCo: the decoder's labels, resuming in each phase, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmark.config import RuntimeConfig
from benchmark.console import stage_progress
from benchmark.execution.context import RunContext
from benchmark.execution.distributed import make_fabric
from datasets.base import IGNORE, Sample, TrainingView
from datasets.files.images import read_labels, read_map
from datasets.recipe import Recipe
from methods.artifacts import CamReader, label_map_path
from methods.base import Artifact, Kind, Shared, function_of
from methods.pictures import pictures
from methods.refiners.gc.correction import CHANGES
from methods.toco import stages
from methods.toco.branch import build_branch
from methods.toco.config import SingleStageConfig
from methods.toco.labels import par_labels, threshold_labels, training_labels
from methods.toco.network import SingleStageNetwork
from methods.toco.phases import phases
from tests.helpers.single_stage import CLASSES, METHODS, batch, tiny
from tests.helpers.trees import write_image

# --- labels -----------------------------------------------------------------------------------------------


def test_threshold_and_padding():
    cams = torch.tensor([[[[0.9, 0.1]], [[0.2, 0.3]]]]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert threshold_labels(cams, 0.25)[0, 0].tolist() == [1, 1, 2, 2]
    valid = torch.ones(1, 2, 4, dtype=torch.bool)
    valid[..., 3] = False
    settings = replace(tiny("dskd_gc").labels, refinement="none", background_threshold=0.25)
    labels = training_labels(torch.zeros(1, 3, 2, 4), cams, torch.zeros(1, 2, 1, 2), valid, settings, None)
    assert labels[0, 0].tolist() == [1, 1, 2, IGNORE]


@pytest.mark.parametrize("refinement", ["none", "par", "gc", "par_gc"])
def test_the_decoder_learns_from_cams_of_several_scales(refinement):
    config = tiny("dskd_gc")
    settings = replace(
        config, labels=replace(config.labels, refinement=refinement, scales=(1.0, 0.5))
    ).training()
    both = SingleStageNetwork(build_branch(settings.network, 3, settings.distillation), settings).train()
    both.begin(phases(settings)[-1])
    terms = stages.losses(both(batch().images, batch().labels, batch().valid), batch(), settings)
    assert terms["segmentation"].isfinite()
    assert terms["segmentation"].requires_grad


def test_par_labels_know_present_classes_and_leave_the_unsure_out():
    torch.manual_seed(0)
    cams = torch.zeros(2, 4, 32, 32)
    cams[0, 2, 8:24, 8:24] = 1.0
    cams[1, 0, :, :16], cams[1, 3, :, 16:] = 0.9, 0.5
    images = cams.amax(1, keepdim=True).repeat(1, 3, 1, 1) + 0.01 * torch.randn(2, 3, 32, 32)
    labels = par_labels(images, cams, 0.25, 0.7)
    assert set(labels[0].unique().tolist()) <= {0, 3, IGNORE}
    assert labels[0, 16, 16] == 3
    assert labels[0, 0, 0] == 0
    assert labels[1, 16, 4] == 1
    assert labels[1, 16, 28] == IGNORE
    assert (par_labels(images, torch.zeros_like(cams), 0.25, 0.7) == 0).all()


# --- resuming ---------------------------------------------------------------------------------------------

SIZES = [(32, 40), (40, 32), (32, 32), (36, 44)]


class InterruptionError(Exception):
    pass


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> TrainingView:
    folder, samples = tmp_path_factory.mktemp("dskd"), []
    for i, (height, width) in enumerate(SIZES):
        path = folder / f"{i}.png"
        write_image(path, i, size=(width, height))
        samples.append(Sample(str(i), path, () if i == 3 else (0, 2) if i else (1,)))
    return TrainingView("test", CLASSES, {"train": tuple(samples), "val": tuple(samples[:2])})


Run = Callable[..., Path]


@pytest.fixture
def run(view: TrainingView, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the training stage into a folder; with `stop`, until that iteration of all phases together."""
    original = stages.losses

    def train(
        folder: Path,
        name: str,
        seed: int = 0,
        stop: int | None = None,
        precision: str = "32-true",
        config: SingleStageConfig | None = None,
    ) -> Path:
        calls = 0

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            if calls == stop:
                raise InterruptionError
            calls += 1
            return original(*arguments)

        monkeypatch.setattr(stages, "losses", counted)
        runtime = RuntimeConfig(device="cpu", workers=1, checkpoint_every=2, precision=precision)
        (folder / ".scratch").mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        progress = stage_progress("train")
        context = RunContext(make_fabric(runtime), runtime, view, {}, folder, 0, progress, None)
        stages.train(context, (config or tiny(name)).training())
        return folder

    return train


@pytest.fixture(scope="module")
def whole() -> dict[str, Path]:
    return {}


@pytest.mark.parametrize(
    ("name", "stop"),
    [("dskd_gc", s) for s in (1, 2, 4, 5, 7, 8)] + [("toco", s) for s in (3, 7)],
)
def test_resuming_in_any_phase_equals_an_uninterrupted_run(tmp_path_factory, run: Run, whole, name, stop):
    """Phases of three iterations, a checkpoint after every second and at the end of each."""
    if name not in whole:
        whole[name] = run(tmp_path_factory.mktemp("whole"), name)
    folder = tmp_path_factory.mktemp("parts")
    with pytest.raises(InterruptionError):
        run(folder, name, stop=stop)
    # Where there is a checkpoint, the initial weights do not matter.
    run(folder, name, seed=0 if stop == 1 else 99)
    files = sorted(p.name for p in whole[name].glob("*.safetensors"))
    assert files == (["student.safetensors"] if name == "dskd_gc" else []) + ["teacher.safetensors"]
    for file in files:
        expected, found = load_file(whole[name] / file), load_file(folder / file)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(value, found[key]), (file, key)
    for history in whole[name].glob("losses-*.json"):
        assert (folder / history.name).read_text() == history.read_text()


@pytest.mark.parametrize("scales", [(), (1.0, 0.5)])
@pytest.mark.parametrize("name", METHODS)
def test_all_phases_train_in_mixed_precision(tmp_path, run: Run, name, scales):
    config = tiny(name)
    config = replace(
        config,
        labels=replace(config.labels, scales=scales),
        contrast=replace(config.contrast, scales=scales),
        class_contrast=replace(config.class_contrast, second_view=Recipe(crop=32), local_blur=0.5),
    )
    folder = run(tmp_path, name, precision="bf16-mixed", config=config)
    assert all(value.isfinite().all() for value in load_file(folder / "teacher.safetensors").values())


@pytest.mark.parametrize(("name", "refinement"), [("dskd_gc", "gc"), ("dskd_gc", "par_gc"), ("toco", "par")])
def test_one_training_gives_cam_labels_and_predictions(tmp_path, run: Run, view, name, refinement):
    config = tiny(name)
    config = replace(config, labels=replace(config.labels, refinement=refinement))
    trained = run(tmp_path / "train", name, config=config)
    done = {"train": Artifact(trained, "", Kind.WEIGHTS, config.training())}
    runtime = RuntimeConfig(device="cpu", workers=1, shard=3)
    for stage in METHODS[name].stages(config, view, Shared())[1:]:
        output = tmp_path / stage.name
        (output / ".scratch").mkdir(parents=True)
        inputs = {role: done[key] for role, key in stage.inputs.items()}
        progress = stage_progress(stage.name)
        context = RunContext(make_fabric(runtime), runtime, view, inputs, output, 0, progress, None)
        function_of(stage.run)(context, stage.settings)
        done[stage.name] = Artifact(output, "", stage.yields, stage.settings)
    cams = CamReader(done["cam"].path)
    for i, size in enumerate(SIZES):
        sample = view.splits["train"][i]
        assert cams[str(i)].classes == sample.labels
        labels = read_labels(label_map_path(done["pseudo_label"].path, str(i)))
        assert labels.shape == size
        assert set(labels.unique().tolist()) <= {0, IGNORE, *(c + 1 for c in sample.labels)}
    made = done["pseudo_label"].settings
    assert getattr(made, "par", None) == ((0.25, 0.7) if refinement == "par_gc" else None)
    if name == "dskd_gc":
        assert made.correction == config.correction
    if refinement == "gc":
        assert view.examples()
        for i in {int(sample.id) for sample in view.examples()}:
            before, after = (
                read_labels(label_map_path(done[stage].path, str(i)))
                for stage in ("pseudo_label_uncorrected", "pseudo_label")
            )
            changed = pictures(done["pseudo_label"].path, str(i))["changed by GC"]
            assert changed.kinds == CHANGES
            kinds = read_map(changed.path)
            assert torch.equal(kinds == 0, before == after)
            assert (after[kinds == 1] == 0).all()
            assert (after[kinds == 2] == IGNORE).all()
            assert not ((after[kinds == 3] == 0) | (after[kinds == 3] == IGNORE)).any()
    for i in range(2):
        prediction = read_labels(label_map_path(done["predict"].path, str(i)))
        assert prediction.shape == SIZES[i]
        assert prediction.max() <= 3
