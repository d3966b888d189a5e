"""CLIMS's losses: the reference's values, bounds, gradients by finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from methods.clims.losses import (
    area_regularisation,
    background_text_matching,
    co_occurring_background_suppression,
    object_text_matching,
)
from tests.conftest import golden


def test_golden() -> None:
    g = {name: torch.from_numpy(value) for name, value in golden("clims_losses").items() if value.ndim}
    scalars = golden("clims_losses")
    similarity = g["similarity"]
    found = {
        "max_loss": object_text_matching(similarity),
        "min_loss": background_text_matching(similarity),
        "cbs_loss": co_occurring_background_suppression(
            normalize(g["image_features"], dim=1) @ normalize(g["background_features"], dim=1).T,
            float(scalars["threshold"]),
        ),
    }
    for name, value in found.items():
        assert_close(value.item(), float(scalars[name]), rtol=1e-4, atol=0)


def test_other_inputs_by_hand() -> None:
    similarity = torch.tensor([[0.1, 0.3], [0.5, -0.9]])
    expected = -(torch.tensor([0.7, 0.5]).log()).sum()
    assert_close(co_occurring_background_suppression(similarity, 0.26), expected)
    clamped = torch.tensor([1e-4, 0.5]).log()
    assert_close(object_text_matching(torch.tensor([-0.5, 0.5])), -clamped.mean())
    assert_close(background_text_matching(torch.tensor([2.0])), -torch.tensor(1e-4).log(), rtol=1e-3, atol=0)
    assert_close(area_regularisation(torch.tensor([[[[0.2, 0.4]], [[0.0, 0.2]]]])), torch.tensor(0.2))


def test_a_similarity_equal_to_the_threshold_is_not_suppressed() -> None:
    assert co_occurring_background_suppression(torch.tensor([[0.25]]), 0.25) == 0


@pytest.mark.parametrize("loss", [object_text_matching, background_text_matching])
def test_no_pairs_cost_nothing(loss) -> None:  # type: ignore[no-untyped-def]
    assert loss(torch.zeros(0)) == 0


def test_gradients() -> None:
    torch.manual_seed(0)
    similarity = (0.1 + 0.4 * torch.rand(3, 4, dtype=torch.float64)).requires_grad_()
    maps = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    for loss in (object_text_matching, background_text_matching):
        assert torch.autograd.gradcheck(loss, (similarity,))
    assert torch.autograd.gradcheck(lambda s: co_occurring_background_suppression(s, 0.26), (similarity,))
    assert torch.autograd.gradcheck(area_regularisation, (maps,))


def test_perfect_matches_have_finite_gradients() -> None:
    similarity = torch.ones(2, 3, requires_grad=True)
    co_occurring_background_suppression(similarity, 0.26).backward()
    assert similarity.grad is not None
    assert similarity.grad.isfinite().all()


@pytest.mark.parametrize("loss", [object_text_matching, background_text_matching])
def test_factors_multiply_terms_of_a_mean_over_all(loss) -> None:
    similarity = torch.tensor([0.2, 0.6])
    expected = (3 * loss(similarity[:1]) + loss(similarity[1:])) / 2
    assert_close(loss(similarity, torch.tensor([3.0, 1.0])), expected)
