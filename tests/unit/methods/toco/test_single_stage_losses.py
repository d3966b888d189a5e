"""Losses of DSKD-GC: their gradients, and their values by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from methods.toco import stages
from methods.toco.losses import (
    classification_loss,
    region_of_interest,
    similarity_loss,
    uncertain_distillation_loss,
)
from methods.toco.phases import phases
from tests.helpers.single_stage import batch, network


def random(*shape: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=source, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("axis", ["channels", "tokens"])
def test_gradient_of_similarity(axis):
    inside = torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    assert gradcheck(
        lambda t, s: similarity_loss(t, s, inside, axis), (random(2, 3, 2, 3), random(2, 3, 3, 2).mT)
    )


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
    half, inside = 0.5**0.5, torch.ones(1, 1, 2, dtype=torch.bool)
    assert similarity_loss(teacher, student, inside, "channels").item() == pytest.approx(-(half + 1) / 2)
    assert similarity_loss(teacher, student, inside, "tokens").item() == pytest.approx(-(1 + 3 / 10**0.5) / 2)
    assert similarity_loss(teacher, teacher, inside).item() == pytest.approx(-1)


@pytest.mark.parametrize("axis", ["channels", "tokens"])
def test_similarity_of_a_padded_image_is_that_of_the_image(axis):
    teacher, student = torch.randn(1, 5, 3, 4), torch.randn(1, 5, 3, 4)
    inside = torch.ones(1, 3, 4, dtype=torch.bool)
    padded = [F.pad(tokens, (0, 2, 1, 0), value=7.0) for tokens in (teacher, student)]
    expected = similarity_loss(teacher, student, inside, axis)
    torch.testing.assert_close(similarity_loss(*padded, F.pad(inside, (0, 2, 1, 0)), axis), expected)
    assert similarity_loss(*padded, torch.zeros(1, 4, 6, dtype=torch.bool), axis) == 0


def test_uncertain_distillation_counts_the_region_alone():
    student, teacher = torch.randn(1, 5, 2, 2), torch.randn(1, 5, 2, 2)
    region = torch.tensor([[[True, False], [False, True]]])
    entropy = -(student.softmax(1) * teacher.log_softmax(1)).sum(1)
    expected = (entropy[0, 0, 0] + entropy[0, 1, 1]) / 2
    torch.testing.assert_close(uncertain_distillation_loss(student, teacher, region), expected)
    assert uncertain_distillation_loss(student, teacher, region & False) == 0


def test_what_is_projected_of_the_padding_is_not_distilled():
    both, settings = network("dskd_gc")
    both.begin(phases(settings)[1])
    step = batch()
    valid = step.valid.clone()
    valid[..., :16] = False  # as the teacher sees it, mirrored: the right half of 4 x 4 tokens
    step = replace(step, valid=valid)
    output = both(step.images, step.labels, step.valid)
    output = output._replace(cam=torch.full_like(output.cam, 0.5))

    def uncertain(projected: torch.Tensor) -> float:
        terms = stages.losses(output._replace(projected=projected), step, settings)
        return terms["uncertain"].item()

    assert output.projected.shape[-1] == 4
    noise = torch.randn_like(output.projected[..., :2])
    outside, inside = output.projected.detach().clone(), output.projected.detach().clone()
    outside[..., 2:] += noise
    inside[..., :2] += noise
    assert uncertain(outside) == pytest.approx(uncertain(output.projected))
    assert uncertain(inside) != pytest.approx(uncertain(output.projected))


def test_region_lies_between_the_thresholds():
    cam = torch.tensor([[[[0.1, 0.3, 0.7]], [[0.2, 0.0, 0.9]]]])
    assert region_of_interest(cam, 0.2, 0.7).tolist() == [[[False, True, False]]]
