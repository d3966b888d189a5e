"""DuPL's training: two students apart, its phases, resuming, and what acts when."""

from __future__ import annotations

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
from methods.base import MethodError, Shared
from methods.dupl import METHOD, stages
from methods.dupl.config import DuplConfig, DuplPhaseConfig, DuplTrainingConfig
from methods.dupl.network import Students, phases
from methods.toco.branch import build_branch
from tests.helpers.single_stage import CLASSES, VIEW, batch
from tests.helpers.trees import write_image

ITERATIONS = 8
SIZES = [(32, 40), (40, 32), (32, 32), (36, 44)]


class InterruptionError(Exception):
    pass


def _tiny(**changes: Any) -> DuplConfig:
    """The nano preset without pretrained weights, on pictures of 32 pixels, in four phases of two iterations."""
    config = METHOD.presets["nano"]
    assert isinstance(config, DuplConfig)
    train = replace(config.train, iterations=ITERATIONS, batch_size=2, warmup=1)
    tiny = replace(
        config,
        vit=replace(config.vit, weights="none"),
        train=replace(train, recipe=replace(train.recipe, crop=32)),
        phases=DuplPhaseConfig(0.25, discrepancy=0.25, contrast=0.5, trust=0.75, auxiliary_labels=0.5),
        noise=replace(config.noise, least=4),
    )
    return replace(tiny, **changes)


def _network(config: DuplConfig) -> tuple[Students, DuplTrainingConfig]:
    torch.manual_seed(0)
    settings = config.training()
    branches = [build_branch(settings.network, len(CLASSES)) for _ in range(2)]
    return Students(branches, CLASSES, settings).train(), settings


def _terms(network: Students, settings: DuplTrainingConfig, number: int) -> dict[str, torch.Tensor]:
    phase = phases(settings)[number]
    network.begin(phase)
    output = network(batch().images, batch().labels, batch().valid)
    return dict(stages.losses(output, batch(), settings, phase))


def test_what_acts_in_each_phase() -> None:
    network, settings = _network(_tiny())
    assert [(p.start, p.stop) for p in phases(settings)] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    assert [p.auxiliary_labels for p in phases(settings)] == [True, True, False, False]
    found = [set(_terms(network, settings, number)) for number in range(4)]
    assert found[0] == {"classification"}
    assert found[1] == found[0] | {"discrepancy", "segmentation"}
    assert found[2] == found[1] | {"patch_contrast"}
    assert found[3] == found[2] | {"consistency"}


def test_the_published_schedules() -> None:
    voc, coco = (phases(METHOD.presets[key].training()) for key in ("paper", "paper/coco2014"))
    assert [p.start for p in voc] == [0, 2000, 8000]
    assert [p.segmentation for p in voc] == [False, True, True]
    assert [p.trust for p in voc] == [False, False, True]
    assert all(p.contrast and p.discrepancy and not p.auxiliary_labels for p in voc)
    assert [p.start for p in coco] == [0, 8000, 12000, 32000]
    assert [p.discrepancy for p in coco] == [False, True, True, True]
    assert [p.contrast for p in coco] == [False, False, True, True]
    assert [p.auxiliary_labels for p in coco] == [True, True, False, False]


def test_every_parameter_that_learns_has_a_gradient_in_every_phase() -> None:
    """As distributed training demands."""
    network, settings = _network(_tiny())
    for number in range(4):
        network.zero_grad(set_to_none=True)
        torch.stack(list(_terms(network, settings, number).values())).sum().backward()
        assert not [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None], number


def test_each_student_learns_from_the_others_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    network, settings = _network(_tiny())
    made: list[torch.Tensor] = []
    taught: list[torch.Tensor] = []

    def labels(images: torch.Tensor, *_: Any) -> torch.Tensor:
        made.append(torch.full(images.shape[:1] + images.shape[2:], len(made)))
        return made[-1]

    def loss(logits: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        taught.append(by)
        return logits.mean()

    monkeypatch.setattr(stages, "decoder_labels", labels)
    monkeypatch.setattr(stages, "balanced_segmentation_loss", loss)
    _terms(network, settings, 1)
    assert taught[0] is made[1]
    assert taught[1] is made[0]


def test_the_noise_of_a_students_own_labels_is_kept_from_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    network, settings = _network(_tiny())
    filters: list[torch.Tensor] = []
    taught: list[tuple[torch.Tensor, torch.Tensor]] = []

    def filtered(logits: torch.Tensor, labels: torch.Tensor, _: Any) -> torch.Tensor:
        filters.append(logits)
        return torch.full_like(labels, len(filters))

    def segmented(logits: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        taught.append((logits, by))
        return logits.mean()

    def consistent(strong: torch.Tensor, logits: torch.Tensor, by: torch.Tensor, _: float) -> torch.Tensor:
        taught.append((logits, by))
        return strong.mean()

    monkeypatch.setattr(stages, "without_noise", filtered)
    monkeypatch.setattr(stages, "balanced_segmentation_loss", segmented)
    monkeypatch.setattr(stages, "consistency_loss", consistent)
    _terms(network, settings, 3)
    assert [int(by.unique()) for _, by in taught] == [2, 1, 2, 1]
    assert all(logits is own for (logits, _), own in zip(taught, filters * 2, strict=True))


def test_an_images_threshold_is_its_classes_largest() -> None:
    config = _tiny()
    config = replace(
        config,
        thresholds=replace(config.thresholds, high=0.7, final=0.5, kept=("c",)),
        phases=replace(config.phases, thresholds=0.0),
    )
    network, _ = _network(config)
    network.iteration.fill_(ITERATIONS - 1)
    output = network(batch().images, batch().labels, batch().valid)
    assert batch().labels.tolist() == [[1, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(output.high, torch.tensor([0.7, 0.5]))
    assert int(network.iteration) == ITERATIONS


def test_padding_is_no_label_and_no_token() -> None:
    config = _tiny()
    network, settings = _network(config)
    phase = phases(settings)[2]
    network.begin(phase)
    valid = batch().valid.clone()
    valid[..., 16:] = False
    output = network(batch().images, batch().labels, valid)
    assert not output.inside[..., 2:].any()
    labels = stages.decoder_labels(
        output.images, output.students[0].label_cam, output.valid, 0.25, output.high
    )
    assert (labels[..., 16:] == IGNORE).all()
    assert (labels[..., :16] != IGNORE).any()


def test_a_decoder_that_nothing_trains_is_refused() -> None:
    config = _tiny()
    config = replace(config, weights=replace(config.weights, segmentation=0.0))
    with pytest.raises(MethodError, match="nothing trains the decoder"):
        METHOD.stages(config, VIEW, Shared())


# --- the stage --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> TrainingView:
    folder, samples = tmp_path_factory.mktemp("dupl"), []
    for i, (height, width) in enumerate(SIZES):
        path = folder / f"{i}.png"
        write_image(path, i, size=(width, height))
        samples.append(Sample(str(i), path, () if i == 3 else (0, 2) if i else (1,)))
    return TrainingView("test", CLASSES, {"train": tuple(samples), "val": tuple(samples[:2])})


def _run(
    folder: Path, view: TrainingView, config: DuplConfig, seed: int = 0, precision: str = "32-true"
) -> Path:
    runtime = RuntimeConfig(device="cpu", workers=1, checkpoint_every=1, precision=precision)
    (folder / ".scratch").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    context = RunContext(make_fabric(runtime), runtime, view, {}, folder, 0, stage_progress("train"), None)
    stages.train(context, config.training())
    return folder


def test_resuming_in_any_phase_equals_an_uninterrupted_run(
    tmp_path: Path, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted once in every phase; the strong view's random numbers go on, too."""
    config = _tiny()
    whole = _run(tmp_path / "whole", view, config)
    original, stops, calls = stages.losses, {1, 3, 5, 7}, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        if calls in stops:
            stops.remove(calls)
            raise InterruptionError
        calls += 1
        return original(*arguments)

    monkeypatch.setattr(stages, "losses", interrupted)
    for attempt in range(4):
        with pytest.raises(InterruptionError):
            _run(tmp_path / "parts", view, config, seed=99 * (attempt > 0))
    _run(tmp_path / "parts", view, config, seed=99)
    for name in ("student1", "student2"):
        expected = load_file(whole / f"{name}.safetensors")
        found = load_file(tmp_path / "parts" / f"{name}.safetensors")
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(value, found[key]), (name, key)


def test_the_students_have_different_heads_and_nothing_in_common(tmp_path: Path, view: TrainingView) -> None:
    trained = _run(tmp_path, view, _tiny())
    first, second = (load_file(trained / f"student{k}.safetensors") for k in (1, 2))
    assert first.keys() == second.keys()
    for name in ("classifier.weight", "auxiliary_classifier.weight", "decoder.0.weight"):
        assert not torch.equal(first[name], second[name])


def test_it_trains_in_mixed_precision_on_cams_of_several_scales(tmp_path: Path, view: TrainingView) -> None:
    trained = _run(tmp_path, view, _tiny(cam_scales=(1.0, 0.5)), precision="bf16-mixed")
    for name in ("student1", "student2"):
        assert all(value.isfinite().all() for value in load_file(trained / f"{name}.safetensors").values())
