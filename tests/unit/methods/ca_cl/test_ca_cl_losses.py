"""The losses of CA-CL, the choice of prompts and the gate of the suppression: values by hand, gradients."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from methods.base import MethodError
from methods.ca_cl.losses import background_suppression, image_text_contrast, select_prompts

THETA = torch.tensor(0.26, dtype=torch.float64)


def similarities(rows: int = 4, texts: int = 6) -> torch.Tensor:
    """None within 0.01 of θ, so that finite differences do not cross the gate."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(rows, texts, generator=generator, dtype=torch.float64) * 0.6 - 0.1
    near = (values - THETA).abs() < 0.01
    return torch.where(near, values + 0.05, values)


def test_prompts_are_chosen_by_similarity() -> None:
    similarity = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.4, -0.9]], requires_grad=True)
    assert select_prompts(similarity).tolist() == [1, 0]


def test_contrast_by_hand() -> None:
    foreground, background = torch.tensor([0.3, 0.9, 0.2]), torch.tensor([0.1, 0.2, 0.4])
    assert_close(image_text_contrast(foreground, background, 0.5), torch.tensor((0.3 + 0.0 + 0.7) / 3))
    assert image_text_contrast(torch.zeros(0), torch.zeros(0)) == 0


def test_suppression_by_hand() -> None:
    similarity = torch.tensor([[0.26, 0.1], [0.5, -0.3]])
    found = background_suppression(similarity, torch.tensor(0.26))
    assert found.selected.tolist() == [[True, False], [True, False]]  # θ itself is selected, Eq. 10
    expected = -(torch.tensor([0.74, 0.5]).log()).sum()
    assert_close(found.loss, expected)
    mean = background_suppression(similarity, torch.tensor(0.26), images=4, reduction="mean")
    assert_close(mean.loss, expected / 4)


def test_a_steep_sigmoid_is_the_gate() -> None:
    similarity = similarities()
    hard = background_suppression(similarity, THETA).loss
    soft = background_suppression(similarity, THETA, gate="sigmoid", steepness=5000.0).loss
    assert_close(soft, hard)


def test_gradients_of_contrast() -> None:
    foreground, background = similarities()[:, 0].clone(), similarities()[:, 1].clone()
    inputs = (foreground.requires_grad_(), background.requires_grad_())
    assert torch.autograd.gradcheck(image_text_contrast, inputs)


def test_gradients_of_the_soft_gate_to_similarity_and_threshold() -> None:
    inputs = (similarities().requires_grad_(), THETA.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda s, t: background_suppression(s, t, gate="sigmoid", steepness=20.0).loss, inputs
    )


def test_straight_through_leaves_the_similarity_the_hard_gates_gradient() -> None:
    assert torch.autograd.gradcheck(
        lambda s: background_suppression(s, THETA).loss, (similarities().requires_grad_(),)
    )


def test_straight_through_gives_the_threshold_the_sigmoids_gradient() -> None:
    """∂L/∂θ = Σ ∂L/∂t at the hard gate · dσ/dθ, both by central differences."""
    similarity, steepness, step = similarities(), 50.0, 1e-6
    theta = THETA.clone().requires_grad_()
    background_suppression(similarity, theta, steepness=steepness).loss.backward()

    gate = (similarity >= THETA).double()

    def loss_of(gate: torch.Tensor) -> torch.Tensor:
        return -(1 - similarity * gate).log()

    by_gate = (loss_of(gate + step) - loss_of(gate - step)) / (2 * step)

    def soft(at: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(steepness * (similarity - at))

    by_theta = (soft(THETA + step) - soft(THETA - step)) / (2 * step)
    assert_close(theta.grad, (by_gate * by_theta).sum(), rtol=1e-6, atol=1e-9)


def test_the_threshold_rises_when_only_the_loss_moves_it() -> None:
    similarity = similarities().abs()
    theta = THETA.clone().requires_grad_()
    background_suppression(similarity, theta).loss.backward()
    assert theta.grad is not None
    assert theta.grad < 0


@pytest.mark.parametrize("gate", ["straight_through", "sigmoid"])
def test_perfect_matches_have_finite_gradients(gate: str) -> None:
    similarity = torch.ones(2, 3, requires_grad=True)
    theta = torch.tensor(0.26, requires_grad=True)
    background_suppression(similarity, theta, gate=gate).loss.backward()
    assert similarity.grad is not None
    assert similarity.grad.isfinite().all()
    assert theta.grad is not None
    assert theta.grad.isfinite()


def test_unknown_options() -> None:
    with pytest.raises(MethodError, match="unknown gate 'hard'"):
        background_suppression(similarities(), THETA, gate="hard")
    with pytest.raises(MethodError, match="unknown reduction 'max'"):
        background_suppression(similarities(), THETA, reduction="max")
