"""EPS's losses: the reference's values, Eq. 1 to 4 by hand, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from torch.testing import assert_close

from methods.base import MethodError
from methods.eps.losses import classification_loss, overlap_ratio, saliency_loss
from tests.conftest import golden


def _random(
    seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, 4, 5, 6, generator=g, dtype=dtype)
    saliency = torch.rand(2, 1, 20, 24, generator=g, dtype=dtype)
    return logits, saliency, torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=dtype)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_golden(index: int) -> None:
    g = golden(f"eps_loss_{index}")
    result = saliency_loss(
        *(torch.from_numpy(g[name]) for name in ("cam", "saliency", "label")),
        overlap_threshold=float(g["tau"]),
        foreground_weight=float(g["lam"]),
    )
    for name, value in result._asdict().items():
        assert_close(value, torch.from_numpy(g[name]), rtol=1e-4, atol=1e-6)


def test_overlap_ratio_by_hand() -> None:
    maps = torch.tensor([[[[0.9, 0.8, 0.1, 0.2]], [[0.1, 0.2, 0.3, 0.4]]]])
    saliency = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    assert_close(overlap_ratio(maps, saliency), torch.tensor([[0.5, 0.0]]), atol=1e-3, rtol=0)


def test_map_selections_differ_only_in_what_is_foreground() -> None:
    logits, saliency, labels = _random()
    maps = logits.softmax(1)
    naive = saliency_loss(logits, saliency, labels, map_selection="naive")
    assert_close(naive.foreground, (maps[:, :-1] * labels[:, :, None, None]).sum(1, keepdim=True))
    assert_close(naive.inverted_background, 1 - maps[:, -1:])
    defined = saliency_loss(logits, saliency, labels, map_selection="predefined", predefined_background=[2])
    moved = maps[:, 2:3] * labels[:, 2, None, None, None]
    assert_close(defined.foreground, naive.foreground - moved)
    assert_close(defined.inverted_background, naive.inverted_background - moved)
    never = saliency_loss(logits, saliency, labels, overlap_threshold=-1.0)
    always = saliency_loss(logits, saliency, labels, overlap_threshold=1.0)
    assert_close(never.foreground, naive.foreground)
    assert not always.foreground.any()


def test_equations_1_and_3() -> None:
    logits, saliency, labels = _random()
    result = saliency_loss(logits, saliency, labels, foreground_weight=0.3)
    assert_close(result.estimated_saliency, 0.3 * result.foreground + 0.7 * result.inverted_background)
    given_map = interpolate(saliency, (5, 6), mode="nearest")
    assert_close(result.loss, ((given_map - result.estimated_saliency) ** 2).mean())


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_maps_are_probabilities(seed: int, tau: float, weight: float) -> None:
    result = saliency_loss(*_random(seed), overlap_threshold=tau, foreground_weight=weight)
    for values in result[1:]:
        assert (values >= -1e-6).all()
        assert (values <= 1 + 1e-6).all()
    assert 0 <= result.loss <= 1
    assert (result.foreground <= result.inverted_background + 1e-6).all()


def test_absent_classes_count_for_nothing() -> None:
    logits, saliency, labels = _random()
    result = saliency_loss(logits, saliency, torch.zeros_like(labels))
    assert not result.foreground.any()
    assert_close(result.inverted_background, 1 - logits.softmax(1)[:, -1:])


@pytest.mark.parametrize("selection", ["naive", "predefined", "adaptive"])
def test_gradients(selection: str) -> None:
    logits, saliency, labels = _random(dtype=torch.float64)
    logits.requires_grad_()

    def total(x: torch.Tensor) -> torch.Tensor:
        sal = saliency_loss(x, saliency, labels, map_selection=selection, predefined_background=[0])
        return sal.loss + classification_loss(x, labels)

    assert torch.autograd.gradcheck(total, (logits,))


def test_saliency_reaches_all_maps_but_classification_not_the_background() -> None:
    logits, saliency, labels = _random()
    logits.requires_grad_()
    (by_saliency,) = torch.autograd.grad(saliency_loss(logits, saliency, labels).loss, logits)
    (by_class,) = torch.autograd.grad(classification_loss(logits, labels), logits)
    assert by_saliency.abs().sum((0, 2, 3)).min() > 0
    assert by_class[:, :-1].abs().sum((0, 2, 3)).min() > 0
    assert not by_class[:, -1].any()


def test_classification_loss_is_equation_4() -> None:
    logits, _, labels = _random()
    scores = logits[:, :-1].mean((2, 3)).sigmoid()
    by_hand = -(labels * scores.log() + (1 - labels) * (1 - scores).log()).mean()
    assert_close(classification_loss(logits, labels), by_hand)


def test_unknown_map_selection() -> None:
    with pytest.raises(MethodError, match="unknown map_selection 'best'"):
        saliency_loss(*_random(), map_selection="best")
