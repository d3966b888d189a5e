"""Teacher and student: averages, phases, what learns in each, and at which rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from datasets.recipe import ColoursOnly, Recipe
from methods.base import MethodError
from methods.layers.cam import multi_scale_cam, normalise, resize
from methods.layers.local_crops import uncertain_crops
from methods.layers.moving_average import average
from methods.layers.networks.vit import whole_patches
from methods.toco import stages
from methods.toco.branch import build_branch
from methods.toco.config import SingleStageTrainingConfig
from methods.toco.network import SingleStageNetwork
from methods.toco.parts import LossWeights, PhaseConfig
from methods.toco.phases import Phase, momentum_at, phases
from methods.toco.profile import train
from tests.helpers.single_stage import METHODS, batch, network, tiny


def test_momentum_rises_by_a_cosine():
    assert momentum_at(0.0, (0.996, 1.0)) == pytest.approx(0.996)
    assert momentum_at(0.5, (0.996, 1.0)) == pytest.approx(0.998)
    assert momentum_at(1.0, (0.996, 1.0)) == pytest.approx(1.0)


@pytest.mark.parametrize(("convention", "kept"), [("conventional", 0.95), ("literal", 0.05)])
def test_the_two_readings_of_the_average(convention, kept):
    _, settings = network("dskd_gc")
    assert settings.distillation is not None
    settings = replace(settings, distillation=replace(settings.distillation, average=convention))
    both = SingleStageNetwork(build_branch(settings.network, 3, settings.distillation), settings)
    assert both.student is not None
    with torch.no_grad():
        both.student.classifier.weight.fill_(1)
        both.teacher.classifier.weight.fill_(3)
    both.begin(phases(settings)[1])
    both(batch().images, batch().labels, batch().valid)
    torch.testing.assert_close(
        both.student.classifier.weight, torch.full_like(both.student.classifier.weight, 3 - 2 * kept)
    )
    assert both.updates == 1


def test_projections_are_centred_on_their_moving_average():
    both, settings = network("dskd_gc")
    both.begin(phases(settings)[1])
    plain, inside = torch.randn(2, 256, 3, 3), torch.ones(2, 3, 3, dtype=torch.bool)
    inside[0, 1:] = False  # padding
    assert torch.equal(both._centred(plain, inside), plain)
    mean = torch.cat([plain[0, :, :1].flatten(1), plain[1].flatten(1)], 1).mean(1)
    torch.testing.assert_close(both.centre[:, 0, 0], 0.1 * mean)
    torch.testing.assert_close(both._centred(plain, inside), plain - 0.1 * mean[:, None, None])
    assert settings.distillation is not None
    off = replace(settings, distillation=replace(settings.distillation, centring=None))
    without = SingleStageNetwork(both.teacher, off)
    without._centred(plain, inside)
    assert torch.equal(without._centred(plain, inside), plain)


def test_the_teacher_sees_the_mirror_image_and_the_students_tokens_lie_as_its_own():
    both, settings = network("dskd_gc")
    both.eval()
    assert both.student is not None
    step = batch()
    valid = step.valid.clone()
    valid[..., 24:] = False
    with torch.no_grad():
        both.student.encoder.class_tokens.add_(1)  # another network than the teacher
        found = both(step.images, step.labels, valid)
        assert torch.equal(found.images, step.images.flip(-1))
        assert torch.equal(found.valid, valid[:, 0].flip(-1))
        assert found.inside[0, 0].tolist() == [False, True, True, True]
        assert torch.equal(found.patches, both.teacher.encode(step.images.flip(-1)).patches)
        assert torch.equal(found.student_middle, both.student.encode(step.images).middle.flip(-1))
        both.begin(phases(settings)[1])
        found = both(step.images, step.labels, valid)
        projected = both.student.project(both.student.encode(step.images).patches)
    assert not torch.allclose(projected, projected.flip(-1))
    torch.testing.assert_close(found.student_projected, projected.flip(-1))  # the centre is still 0


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
    both(step.images, step.labels, step.valid)
    teacher, student = (
        {k: v.clone() for k, v in branch.decoder.state_dict().items() if "running" in k}
        for branch in (both.teacher, both.student)
    )
    assert teacher  # nano's decoder is normalised
    kept = momentum_at(both.updates.item() / both._averagings, settings.distillation.momentum)
    both(step.images, step.labels, step.valid)
    for key, value in both.student.decoder.state_dict().items():
        if "running" in key:
            assert not torch.equal(teacher[key], student[key])
            torch.testing.assert_close(value, kept * student[key] + (1 - kept) * teacher[key])


def test_phases_follow_from_the_shares():
    _, settings = network("dskd_gc")
    assert [tuple(p)[:4] for p in phases(settings)] == [
        (0, 3, True, False),
        (3, 6, False, False),
        (6, 9, False, True),
    ]
    together = replace(settings, phases=replace(settings.phases, segmentation=1 / 3))
    assert [tuple(p)[:4] for p in phases(together)] == [(0, 3, True, False), (3, 9, False, True)]
    _, settings = network("toco")
    assert [tuple(p)[:4] for p in phases(settings)] == [(0, 6, False, False), (6, 9, False, True)]


def test_tokens_are_contrasted_and_labels_change_their_cam_from_their_shares_on():
    config = tiny("toco")
    shares = PhaseConfig(0.0, 1 / 3, contrast=2 / 3, auxiliary_labels=2 / 3)
    both, settings = network("toco", replace(config, phases=shares))
    assert phases(settings) == [
        Phase(0, 3, False, False, False, True),
        Phase(3, 6, False, True, False, True),
        Phase(6, 9, False, True, True, False),
    ]
    found = [set(terms) for _, terms in learning(both, settings)]
    classified = {"patch_classification", "auxiliary"}
    assert found == [
        classified,
        classified | {"segmentation"},
        classified | {"segmentation", "patch_contrast", "class_contrast"},
    ]
    without = replace(config.weights, patch_contrast=0.0, class_contrast=0.0, segmentation=0.0)
    settings = replace(config, phases=shares, weights=without).training()
    assert phases(settings) == [Phase(0, 9, False, False)]


@pytest.mark.parametrize("scales", [(), (1.0, 0.5)])
def test_the_first_labels_are_of_the_auxiliary_cam(scales):
    config = tiny("toco")
    config = replace(
        config,
        phases=PhaseConfig(0.0, 0.0, auxiliary_labels=0.5),
        labels=replace(config.labels, scales=scales),
        contrast=replace(config.contrast, scales=scales),
    )
    both, settings = network("toco", config)
    first, last = phases(settings)
    step = batch()
    with torch.no_grad():
        both.begin(first)
        before = both(step.images, step.labels, step.valid)
        both.begin(last)
        after = both(step.images, step.labels, step.valid)
    assert torch.equal(before.label_cam, before.auxiliary_cam)
    assert not torch.equal(after.label_cam, after.auxiliary_cam)
    assert torch.equal(after.auxiliary_cam, before.auxiliary_cam)


def test_the_auxiliary_cam_is_of_its_own_scales():
    config = tiny("toco")
    config = replace(
        config,
        contrast=replace(config.contrast, scales=(1.0, 0.5, 1.5)),
        labels=replace(config.labels, scales=(1.0, 0.5)),
    )
    both, settings = network("toco", config)
    both.begin(phases(settings)[-1])
    step, teacher = batch(), both.teacher
    seen: list[int] = []
    teacher.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        found = both(step.images, step.labels, step.valid)
        sizes = sorted(seen)

        def auxiliary(images: torch.Tensor) -> torch.Tensor:
            return teacher.auxiliary_classifier(teacher.encode(whole_patches(images, (8, 8))).middle).relu()

        maps = normalise(multi_scale_cam(auxiliary, step.images, (1.0, 0.5, 1.5), flip=True))
    expected = resize(maps * step.labels[:, :, None, None], found.patches.shape[-2:])
    torch.testing.assert_close(found.auxiliary_cam, expected)
    # Two whole images, local crops of 16, and the scales of either CAM.
    assert sizes == [16, 16, 16, 32, 32, 32, 32, 48]
    assert found.label_cam.shape[-2:] == (4, 4)


def test_class_tokens_are_those_of_the_views(monkeypatch):
    """The second whole image and the image that local crops are cut from, where the recipe has them."""
    config = tiny("toco")
    views = replace(config.class_contrast, second_view=Recipe(crop=32), local_blur=0.5)
    recipe = replace(config.train.recipe, blur=1.0)
    config = replace(config, class_contrast=views, train=replace(config.train, recipe=recipe))
    both, settings = network("toco", config)
    assert settings.views() == (Recipe(crop=32), ColoursOnly(replace(recipe, blur=0.5)))
    assert network("toco")[1].views() == network("dskd_gc")[1].views() == ()
    cut = []

    def crops(images: torch.Tensor, *arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        cut.append(images)
        return uncertain_crops(images, *arguments)

    monkeypatch.setattr("methods.toco.network.uncertain_crops", crops)
    step, second, local = batch(), batch(1).images, batch(2).images
    with torch.no_grad():
        found = both(step.images, step.labels, step.valid, second, local)
        tokens = torch.cat([both.teacher.encode(images).class_token for images in (step.images, second)])
        fixed = both.class_contrast.average(tokens)
    torch.testing.assert_close(found.contrasted.global_tokens, nn.functional.normalize(fixed, dim=-1))
    assert cut[0] is local


def learning(
    both: SingleStageNetwork, settings: SingleStageTrainingConfig
) -> Iterator[tuple[Phase, Mapping[str, torch.Tensor]]]:
    """Phase by phase its loss terms, after the backward pass, by which exactly what may learn has a gradient."""
    for phase in phases(settings):
        both.begin(phase)
        both.zero_grad()
        terms = stages.losses(both(batch().images, batch().labels, batch().valid), batch(), settings)
        torch.stack(list(terms.values())).sum().backward()
        for key, parameter in both.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, (phase, key)
        yield phase, terms


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_that_may_learn_has_a_gradient_and_no_other(name):
    """Distributed training waits for a gradient of each of them."""
    for phase, terms in learning(*network(name)):
        assert ("segmentation" in terms) == phase.segmentation
        assert ("similarity" in terms) == (name == "dskd_gc" and phase.warm_up)
        assert ("uncertain" in terms) == (name == "dskd_gc" and not phase.warm_up)
        assert ("class_contrast" in terms) == (name == "toco")


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        (name, f.name)
        for name in METHODS
        for f in fields(LossWeights)
        if getattr(tiny(name).weights, f.name) > 0
    ],
)
def test_the_same_holds_without_one_of_the_losses(name, weight):
    config = tiny(name)
    if (name, weight) == ("toco", "patch_classification"):  # its only loss of the classifier
        config = replace(config, weights=replace(config.weights, classification=1.0))
    without = replace(config, weights=replace(config.weights, **{weight: 0.0}))
    both, settings = network(name, without)
    found = dict(learning(both, settings))
    assert not any(weight in terms for terms in found.values())
    assert both.teacher.auxiliary_classifier.weight.requires_grad == (weight != "auxiliary")


@pytest.mark.parametrize(
    "weight", ["classification", "patch_classification", "patch_contrast", "similarity", "uncertain"]
)
def test_a_loss_that_is_left_out_changes_neither_the_others_nor_what_is_drawn(weight):
    def terms_of(weights: LossWeights) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        both, settings = network("dskd_gc", replace(config, weights=weights))
        torch.manual_seed(1)
        return [(dict(terms), torch.get_rng_state()) for _, terms in learning(both, settings)]

    config = tiny("dskd_gc")
    whole, without = terms_of(config.weights), terms_of(replace(config.weights, **{weight: 0.0}))
    assert any(weight in terms for terms, _ in whole)
    for (expected, drawn), (terms, drawn_without) in zip(whole, without, strict=True):
        expected.pop(weight, None)
        assert terms.keys() == expected.keys()
        assert all(torch.equal(term, expected[name]) for name, term in terms.items())
        assert torch.equal(drawn, drawn_without)


@pytest.mark.parametrize(("weight", "ran"), [("similarity", [0, 1, 1]), ("uncertain", [1, 0, 0])])
def test_the_student_and_the_projectors_run_for_their_loss_alone(weight, ran):
    config = tiny("dskd_gc")
    both, settings = network("dskd_gc", replace(config, weights=replace(config.weights, **{weight: 0.0})))
    assert both.student is not None
    assert (both.teacher.projector is None) == (both.student.projector is None) == (weight == "uncertain")
    calls: list[int] = []
    both.student.encoder.trunk.norm.register_forward_hook(lambda *_: calls.append(1))
    found = []
    for _ in learning(both, settings):
        found.append(len(calls))
        calls.clear()
    assert found == ran
    assert both.updates == 2  # it goes on as the teacher's moving average
    _, profiled = train(settings, {}, 3, (32, 32))
    with torch.no_grad():
        assert len(profiled.run(profiled.module, batch().images)) == (3 if weight == "uncertain" else 4)


def test_the_student_takes_no_gradient_after_the_warm_up():
    both, settings = network("dskd_gc")
    assert both.student is not None
    optimiser = stages.optimiser_of(both, settings)
    for phase in phases(settings):
        both.begin(phase)
        for step in range(2):
            found = both(batch(step).images, batch().labels, batch().valid)
            terms = stages.losses(found, batch(step), settings)
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
    assert SingleStageNetwork(build_branch(settings.network, 3, None), settings).student is None


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
