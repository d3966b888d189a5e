"""DSKD-GC and ToCo: losses, averages, phases, resuming in each of them, labels, and the stages they declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.autograd import gradcheck

from benchmark.config import RuntimeConfig
from benchmark.console import stage_progress
from benchmark.context import RunContext
from benchmark.runner import make_fabric
from datasets.base import IGNORE, Sample, TrainingView
from datasets.images import read_labels, read_map
from datasets.limits import first_fault
from datasets.loader import Batch
from methods.artifacts import CamReader, label_map_path
from methods.base import Artifact, Kind, MethodError, Shared
from methods.dskd_gc import METHOD, stages
from methods.dskd_gc.config import DskdConfig, TrainingConfig
from methods.dskd_gc.labels import par_labels, threshold_labels, training_labels
from methods.dskd_gc.losses import (
    classification_loss,
    region_of_interest,
    similarity_loss,
    uncertain_distillation_loss,
)
from methods.dskd_gc.network import DskdNetwork, average, build_branch, momentum_at, phases
from methods.pictures import pictures
from methods.refiners import PSA
from methods.refiners.config import RefinerConfig
from methods.refiners.gc.correction import CHANGES
from methods.segmenters import SEGMENTERS
from methods.toco import METHOD as TOCO
from tests.trees import write_image

METHODS = {"dskd_gc": METHOD, "toco": TOCO}
CLASSES = ("a", "b", "c")
VIEW = TrainingView("toy", CLASSES, {"train": (), "val": ()})
ITERATIONS = 9


def tiny(name: str) -> DskdConfig:
    """The nano preset without pretrained weights, on pictures of 32 pixels, in three phases of three iterations."""
    config = METHODS[name].presets["nano"]
    assert isinstance(config, DskdConfig)
    train = replace(config.train, iterations=ITERATIONS, batch_size=2, warmup=1)
    return replace(
        config,
        vit=replace(config.vit, weights="none"),
        train=replace(train, recipe=replace(train.recipe, crop=32)),
        phases=replace(config.phases, warm_up=1 / 3, segmentation=2 / 3),
        class_contrast=replace(config.class_contrast, size=16, crops=2),
        inference=replace(config.inference, scales=(1.0,)),
        test=replace(config.test, scales=(1.0,)),
    )


def network(name: str) -> tuple[DskdNetwork, TrainingConfig]:
    torch.manual_seed(0)
    settings = tiny(name).training()
    branch = build_branch(settings.network, len(CLASSES), settings.distillation)
    return DskdNetwork(branch, settings).train(), settings


def batch(seed: int = 0, images: int = 2) -> Batch:
    source = torch.Generator().manual_seed(seed)
    labels = torch.zeros(images, 3)
    labels[:, 0] = labels[0, 2] = 1
    valid = torch.ones(images, 1, 32, 32, dtype=torch.bool)
    return Batch(("0",) * images, torch.randn(images, 3, 32, 32, generator=source), labels, {}, valid)


# --- losses -----------------------------------------------------------------------------------------------


def random(*shape: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=source, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("axis", ["channels", "tokens"])
def test_gradient_of_similarity(axis):
    assert gradcheck(lambda t, s: similarity_loss(t, s, axis), (random(2, 3, 2, 3), random(2, 3, 3, 2).mT))


def test_gradient_of_uncertain_distillation():
    region = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0)) > 0.5
    student, teacher = random(2, 4, 3, 3).detach(), random(2, 4, 3, 3)
    assert gradcheck(lambda t: uncertain_distillation_loss(student, t, region, (0.5, 0.3)), (teacher,))


def test_gradient_of_classification():
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    assert gradcheck(lambda x: classification_loss(x, labels.double()), (random(2, 3),))


def test_similarity_of_channels_and_of_tokens():
    teacher = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # (1, 2 channels, 1, 2 tokens)
    student = torch.tensor([[[[1.0, 1.0]], [[0.0, 3.0]]]])
    half = 0.5**0.5
    assert similarity_loss(teacher, student, "channels").item() == pytest.approx(-(half + 1) / 2)
    assert similarity_loss(teacher, student, "tokens").item() == pytest.approx(-(1 + 3 / 10**0.5) / 2)
    assert similarity_loss(teacher, teacher).item() == pytest.approx(-1)


def test_uncertain_distillation_counts_the_region_alone():
    student, teacher = torch.randn(1, 5, 2, 2), torch.randn(1, 5, 2, 2)
    region = torch.tensor([[[True, False], [False, True]]])
    entropy = -(student.softmax(1) * teacher.log_softmax(1)).sum(1)
    expected = (entropy[0, 0, 0] + entropy[0, 1, 1]) / 2
    torch.testing.assert_close(uncertain_distillation_loss(student, teacher, region), expected)
    assert uncertain_distillation_loss(student, teacher, region & False) == 0


def test_region_lies_between_the_thresholds():
    cam = torch.tensor([[[[0.1, 0.3, 0.7]], [[0.2, 0.0, 0.9]]]])
    assert region_of_interest(cam, 0.2, 0.7).tolist() == [[[False, True, False]]]


# --- averages and phases ----------------------------------------------------------------------------------


def test_momentum_rises_by_a_cosine():
    assert momentum_at(0.0, (0.996, 1.0)) == pytest.approx(0.996)
    assert momentum_at(0.5, (0.996, 1.0)) == pytest.approx(0.998)
    assert momentum_at(1.0, (0.996, 1.0)) == pytest.approx(1.0)


@pytest.mark.parametrize(("convention", "kept"), [("conventional", 0.95), ("literal", 0.05)])
def test_the_two_readings_of_the_average(convention, kept):
    _, settings = network("dskd_gc")
    assert settings.distillation is not None
    settings = replace(settings, distillation=replace(settings.distillation, average=convention))
    both = DskdNetwork(build_branch(settings.network, 3, settings.distillation), settings)
    assert both.student is not None
    with torch.no_grad():
        both.student.classifier.weight.fill_(1)
        both.teacher.classifier.weight.fill_(3)
    both.begin(phases(settings)[1])
    both(batch().images, batch().labels)
    torch.testing.assert_close(
        both.student.classifier.weight, torch.full_like(both.student.classifier.weight, 3 - 2 * kept)
    )
    assert both.updates == 1


def test_projections_are_centred_on_their_moving_average():
    both, settings = network("dskd_gc")
    both.begin(phases(settings)[1])
    plain = torch.randn(2, 256, 3, 3)
    assert torch.equal(both._centred(plain), plain)
    mean = plain.mean((0, 2, 3))
    torch.testing.assert_close(both.centre[:, 0, 0], 0.1 * mean)
    torch.testing.assert_close(both._centred(plain), plain - 0.1 * mean[:, None, None])
    assert settings.distillation is not None
    off = replace(settings, distillation=replace(settings.distillation, centring=None))
    without = DskdNetwork(both.teacher, off)
    without._centred(plain)
    assert torch.equal(without._centred(plain), plain)


def test_patch_tokens_are_pooled_as_set():
    config = tiny("dskd_gc").network
    patches = torch.randn(2, 96, 3, 4)
    for pooling, pooled in (("max", patches.amax((2, 3))), ("mean", patches.mean((2, 3)))):
        branch = build_branch(replace(config, pooling=pooling), 3)
        expected = pooled @ branch.classifier.weight[:, :, 0, 0].T
        torch.testing.assert_close(branch.classified(patches, branch.classifier), expected)


def test_average_takes_statistics_along():
    target, source = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    with torch.no_grad():
        source.weight.fill_(3)
        source.running_mean.fill_(5)  # type: ignore[union-attr]
        source.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    average(target, source, 0.75)
    assert target.weight.tolist() == [1.5, 1.5]
    assert target.running_mean.tolist() == [1.25, 1.25]  # type: ignore[union-attr]
    assert target.num_batches_tracked == 7


def test_statistics_of_the_students_decoder_follow_the_teachers():
    """The student's decoder never runs in the training, and predicts with `which=student`."""
    both, settings = network("dskd_gc")
    assert both.student is not None
    assert settings.distillation is not None
    both.begin(phases(settings)[-1])
    step = batch()
    both(step.images, step.labels)
    teacher, student = (
        {k: v.clone() for k, v in branch.decoder.state_dict().items() if "running" in k}
        for branch in (both.teacher, both.student)
    )
    assert teacher  # nano's decoder is normalised
    kept = momentum_at(both.updates.item() / both._averagings, settings.distillation.momentum)
    both(step.images, step.labels)
    for key, value in both.student.decoder.state_dict().items():
        if "running" in key:
            assert not torch.equal(teacher[key], student[key])
            torch.testing.assert_close(value, kept * student[key] + (1 - kept) * teacher[key])


def test_phases_follow_from_the_shares():
    _, settings = network("dskd_gc")
    assert [tuple(p) for p in phases(settings)] == [
        (0, 3, True, False),
        (3, 6, False, False),
        (6, 9, False, True),
    ]
    together = replace(settings, phases=replace(settings.phases, segmentation=1 / 3))
    assert [tuple(p) for p in phases(together)] == [(0, 3, True, False), (3, 9, False, True)]
    _, settings = network("toco")
    assert [tuple(p) for p in phases(settings)] == [(0, 6, False, False), (6, 9, False, True)]


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_that_may_learn_has_a_gradient_and_no_other(name):
    """Distributed training waits for a gradient of each of them."""
    both, settings = network(name)
    for phase in phases(settings):
        both.begin(phase)
        both.zero_grad()
        terms = stages.losses(both(batch().images, batch().labels), batch(), both, settings)
        torch.stack(list(terms.values())).sum().backward()
        for key, parameter in both.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, (phase, key)
        assert ("segmentation" in terms) == phase.segmentation
        assert ("similarity" in terms) == (name == "dskd_gc" and phase.warm_up)
        assert ("uncertain" in terms) == (name == "dskd_gc" and not phase.warm_up)
        assert ("class_contrast" in terms) == (name == "toco")


def test_the_student_takes_no_gradient_after_the_warm_up():
    both, settings = network("dskd_gc")
    assert both.student is not None
    optimiser = stages.optimiser_of(both, settings)
    for phase in phases(settings):
        both.begin(phase)
        for step in range(2):
            terms = stages.losses(both(batch(step).images, batch().labels), batch(step), both, settings)
            averaged = {k: v.clone() for k, v in both.student.named_parameters()}
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            with_gradient = [p.grad is not None for p in both.student.parameters()]
            moved = [k for k, v in both.student.named_parameters() if not torch.equal(v, averaged[k])]
            assert any(with_gradient) == bool(moved) == phase.warm_up


def test_without_distillation_there_is_no_student():
    config = tiny("dskd_gc")
    weights = replace(config.weights, similarity=0.0, uncertain=0.0)
    settings = replace(config, weights=weights).training()
    assert settings.distillation is None
    assert DskdNetwork(build_branch(settings.network, 3, None), settings).student is None


def test_rates_of_teacher_heads_and_student():
    both, settings = network("dskd_gc")
    groups = stages.optimiser_of(both, settings).param_groups
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    base = settings.train.learning_rate
    assert both.student is not None
    assert rate[id(both.teacher.encoder.class_tokens)] == base
    assert rate[id(both.teacher.classifier.weight)] == base * settings.train.head_multiplier
    assert rate[id(both.student.encoder.class_tokens)] == pytest.approx(0.1 * base)
    assert id(both.student.classifier.weight) not in rate


def test_the_auxiliary_layer_is_counted_from_the_last():
    config = tiny("dskd_gc").network
    images = torch.randn(1, 3, 32, 40)
    branch = build_branch(replace(config, auxiliary_layer=1, vit=replace(config.vit, final_norm=False)), 3)
    with torch.no_grad():
        encoded = branch.eval().encode(images)
    assert encoded.patches.shape == (1, branch.encoder.channels, 4, 5)
    assert torch.equal(encoded.middle, encoded.patches)
    with pytest.raises(MethodError, match=r"auxiliary_layer=7: vit_nano has 6 layers; choose 1 \(the last\)"):
        build_branch(replace(config, auxiliary_layer=7), 3)


# --- labels -----------------------------------------------------------------------------------------------


def test_threshold_and_padding():
    cams = torch.tensor([[[[0.9, 0.1]], [[0.2, 0.3]]]]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert threshold_labels(cams, 0.25)[0, 0].tolist() == [1, 1, 2, 2]
    valid = torch.ones(1, 2, 4, dtype=torch.bool)
    valid[..., 3] = False
    settings = replace(tiny("dskd_gc").labels, refinement="none", background_threshold=0.25)
    labels = training_labels(torch.zeros(1, 3, 2, 4), cams, torch.zeros(1, 2, 1, 2), valid, settings, None)
    assert labels[0, 0].tolist() == [1, 1, 2, IGNORE]


@pytest.mark.parametrize("refinement", ["none", "par", "gc"])
def test_the_decoder_learns_from_cams_of_several_scales(refinement):
    config = tiny("dskd_gc")
    settings = replace(
        config, labels=replace(config.labels, refinement=refinement, scales=(1.0, 0.5))
    ).training()
    both = DskdNetwork(build_branch(settings.network, 3, settings.distillation), settings).train()
    both.begin(phases(settings)[-1])
    terms = stages.losses(both(batch().images, batch().labels), batch(), both, settings)
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

    def train(folder: Path, name: str, seed: int = 0, stop: int | None = None) -> Path:
        calls = 0

        def counted(*arguments: Any) -> Any:
            nonlocal calls
            if calls == stop:
                raise InterruptionError
            calls += 1
            return original(*arguments)

        monkeypatch.setattr(stages, "losses", counted)
        runtime = RuntimeConfig(device="cpu", workers=1, checkpoint_every=2)
        (folder / ".scratch").mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        progress = stage_progress("train")
        context = RunContext(make_fabric(runtime), runtime, view, {}, folder, 0, progress, None)
        stages.train(context, tiny(name).training())
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


@pytest.mark.parametrize("name", METHODS)
def test_one_training_gives_cam_labels_and_predictions(tmp_path, run: Run, view, name):
    config = tiny(name)
    done = {"train": Artifact(run(tmp_path / "train", name), "", Kind.WEIGHTS)}
    runtime = RuntimeConfig(device="cpu", workers=1, shard=3)
    for stage in METHODS[name].stages(config, view, Shared())[1:]:
        module, _, function = stage.run.partition(":")
        output = tmp_path / stage.name
        (output / ".scratch").mkdir(parents=True)
        inputs = {role: done[key] for role, key in stage.inputs.items()}
        progress = stage_progress(stage.name)
        context = RunContext(make_fabric(runtime), runtime, view, inputs, output, 0, progress, None)
        getattr(__import__(module, fromlist=[function]), function)(context, stage.settings)
        done[stage.name] = Artifact(output, "", stage.yields)
    cams = CamReader(done["cam"].path)
    for i, size in enumerate(SIZES):
        sample = view.splits["train"][i]
        assert cams[str(i)].classes == sample.labels
        labels = read_labels(label_map_path(done["pseudo_label"].path, str(i)))
        assert labels.shape == size
        assert set(labels.unique().tolist()) <= {0, IGNORE, *(c + 1 for c in sample.labels)}
    if name == "dskd_gc":
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


# --- declaration ------------------------------------------------------------------------------------------


GC = RefinerConfig("gc", psa=PSA["nano"])


def names(config: DskdConfig, shared: Shared = Shared(), name: str = "dskd_gc") -> list[str]:  # noqa: B008
    return [s.name for s in METHODS[name].stages(config, VIEW, shared)]


def test_its_own_decoder_predicts_and_its_own_correction_refines():
    config = tiny("dskd_gc")
    assert names(config) == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label_uncorrected",
        "pseudo_label",
        "predict",
    ]
    train, cam, _, uncorrected, corrected, predict = METHOD.stages(config, VIEW, Shared())
    assert [s.scored_as for s in (cam, uncorrected, corrected, predict)] == [
        None,
        "pseudo_label_uncorrected",
        None,
        None,
    ]
    assert corrected.inputs == {"cam": "cam", "weights": "train"}
    assert predict.inputs == {"weights": "train"}
    assert (train.yields, predict.splits) == (Kind.WEIGHTS, ("val",))


def test_without_a_student_there_is_no_warm_up_to_wait_for():
    phases_ = {"warm_up": 0.5, "segmentation": 0.4}
    alone = changed({"phases": phases_, "weights": {"similarity": 0.0, "uncertain": 0.0}})
    assert METHOD.stages(alone, VIEW, Shared())[0].settings.phases.segmentation == 0.4


def test_the_unified_protocol_trains_the_shared_network_on_the_shared_refiners_labels():
    shared = Shared(RefinerConfig("crf", psa=PSA["nano"]), SEGMENTERS["nano"])
    by_name = {s.name: s for s in METHOD.stages(tiny("dskd_gc"), VIEW, shared)}
    refined = by_name["pseudo_label"]
    assert refined.run == "methods.refiners.crf:pseudo_label"
    assert refined.settings.crf == shared.refiner.crf
    assert refined.inputs == {"cam": "cam"}
    assert by_name["segment"].inputs == {"labels": "pseudo_label"}
    assert by_name["segment"].settings.train == SEGMENTERS["nano"].train
    names_of_gc = [s.name for s in METHOD.stages(tiny("dskd_gc"), VIEW, replace(shared, refiner=GC))]
    assert names_of_gc[3:5] == ["pseudo_label_uncorrected", "pseudo_label"]
    corrected = METHOD.stages(tiny("dskd_gc"), VIEW, replace(shared, refiner=GC))[4]
    assert corrected.run == "methods.refiners.gc.stages:pseudo_label"
    assert corrected.settings.correction == GC.gc.correction
    assert names(tiny("dskd_gc"), shared) == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label",
        "segment",
        "predict",
    ]
    own_labels = Shared(None, SEGMENTERS["nano"])  # `--segmenters` under `paper`
    own = {s.name: s for s in METHOD.stages(tiny("dskd_gc"), VIEW, own_labels)}
    assert own["pseudo_label"].run == "methods.dskd_gc.stages:pseudo_label"
    assert own["pseudo_label"].settings.correction == tiny("dskd_gc").correction
    assert own["segment"].inputs == {"labels": "pseudo_label"}
    assert names(tiny("dskd_gc"), own_labels) == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label_uncorrected",
        "pseudo_label",
        "segment",
        "predict",
    ]
    assert names(tiny("toco"), shared, "toco") == [
        "train",
        "cam",
        "image_scores",
        "pseudo_label",
        "segment",
        "predict",
    ]


def test_the_baseline_has_no_correction():
    config = tiny("dskd_gc")
    plain = replace(config, labels=replace(config.labels, refinement="none"))
    assert names(plain) == ["train", "cam", "image_scores", "pseudo_label", "predict"]
    assert plain.training().correction is None


@pytest.mark.parametrize("scale", ["nano", "small", "paper"])
def test_toco_is_a_setting_of_the_same_training(scale):
    ours, its = METHOD.presets[scale], TOCO.presets[scale]
    assert METHOD.stages(ours, VIEW, Shared())[0].run == TOCO.stages(its, VIEW, Shared())[0].run
    settings = its.training()
    assert (settings.distillation, settings.correction) == (None, None)
    assert settings.class_contrast is not None
    assert ours.training().class_contrast is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correction": {"low": 0.9}}, r"correction\.low=0\.9: must be below .*correction\.high=0\.85"),
        (
            {"which": "student", "weights": {"similarity": 0.0, "uncertain": 0.0}},
            "there is none without weights.similarity",
        ),
        (
            {"phases": {"warm_up": 0.5, "segmentation": 0.4}},
            r"method\.dskd_gc\.phases: segmentation=0\.4 is before the end of warm_up=0\.5",
        ),
    ],
)
def test_settings_that_do_not_go_together(change, message):
    with pytest.raises(MethodError, match=message):
        METHOD.stages(changed(change), VIEW, Shared())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "sum"}, "pooling=sum: there are max, mean"),
        ({"which": "both"}, "which=both: there are teacher, student"),
        ({"labels": {"refinement": "crf"}}, "labels.refinement=crf: there are none, par, gc"),
        ({"labels": {"loss": "sum"}}, "labels.loss=sum: there are mean, balanced"),
        (
            {"distillation": {"average": "literaly"}},
            "distillation.average=literaly: did you mean 'literal'? there are conventional, literal",
        ),
        ({"distillation": {"similarity": "x"}}, "distillation.similarity=x: there are channels, tokens"),
        ({"distillation": {"momentum": (0.9,)}}, "distillation.momentum=[0.9]: must have 2 items"),
        ({"phases": {"warm_up": 2000.0}}, "phases.warm_up=2000.0: must be in [0, 1]"),
    ],
)
def test_settings_out_of_range(change, message):
    assert first_fault(changed(change)) == message


def changed(change):
    config = tiny("dskd_gc")
    parts = {
        key: replace(getattr(config, key), **value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    return replace(config, **parts)


# --- paper scale ------------------------------------------------------------------------------------------


def paper_step(crop: int, images: int = 2) -> tuple[float, float, float]:
    """One step of the segmentation phase of the paper's networks on CPU: seconds, peak GiB, and the loss."""
    import resource
    import time

    config = METHOD.presets["paper"]
    assert isinstance(config, DskdConfig)
    settings = replace(config, vit=replace(config.vit, weights="none")).training()
    torch.manual_seed(0)
    both = DskdNetwork(build_branch(settings.network, 20, settings.distillation), settings).train()
    both.begin(phases(settings)[-1])
    optimiser = stages.optimiser_of(both, settings)
    labels = torch.zeros(images, 20)
    labels[:, 3] = 1
    valid = torch.ones(images, 1, crop, crop, dtype=torch.bool)
    step = Batch(("0",) * images, torch.randn(images, 3, crop, crop), labels, {}, valid)
    began = time.perf_counter()
    terms = stages.losses(both(step.images, step.labels), step, both, settings)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    optimiser.step()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return seconds, peak, float(total.detach())


@pytest.mark.slow
@pytest.mark.parametrize(("crop", "images"), [(224, 1), (448, 2)])
def test_a_step_of_the_papers_networks(crop, images):
    seconds, peak, loss = paper_step(crop, images)
    print(f"ViT-B teacher and student, {images} x {crop}²: {seconds:.1f} s, {peak:.1f} GiB, loss {loss:.3f}")
    assert torch.isfinite(torch.tensor(loss))


def test_the_papers_networks_have_their_sizes():
    config = METHOD.presets["paper"]
    assert isinstance(config, DskdConfig)
    with torch.device("meta"):
        branch = build_branch(replace(config.network, vit=replace(config.vit, weights="none")), 20)
    parameters = sum(p.numel() for p in branch.encoder.parameters())
    assert parameters == pytest.approx(85.8e6, rel=1e-3)
    shapes = [tuple(m.weight.shape) for m in branch.decoder if isinstance(m, nn.Conv2d)]
    assert shapes == [(512, 768, 3, 3), (512, 512, 3, 3), (21, 512, 1, 1)]
    assert branch._auxiliary_block == 9
