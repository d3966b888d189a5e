"""Learning rates by parameter, and the polynomial schedule."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from methods.base import MethodError
from methods.layers.config import TrainConfig
from methods.layers.optim import build_optimiser, cosine, parameter_groups, poly, schedule


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
        self.head = nn.Conv2d(4, 2, 1)
        self.backbone[2].requires_grad_(False)


def test_eps_multipliers() -> None:
    """x1, biases x2, the classifier x10, its bias x20 (EPS); neither biases nor BN scales decay."""
    network = _Network()
    config = TrainConfig(learning_rate=0.01, weight_decay=5e-4, head_multiplier=10, bias_multiplier=2)
    groups = parameter_groups(network, [network.head], config)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    convolution, norm = network.backbone[0], network.backbone[1]
    expected = {
        id(convolution.weight): (0.01, 5e-4),
        id(convolution.bias): (0.02, 0.0),
        id(norm.weight): (0.01, 0.0),
        id(norm.bias): (0.02, 0.0),
        id(network.head.weight): (0.1, 5e-4),
        id(network.head.bias): (0.2, 0.0),
    }
    assert found.keys() == expected.keys()
    assert all(found[k] == pytest.approx(expected[k]) for k in expected)


def test_optimisers() -> None:
    network = _Network()
    sgd = build_optimiser(network, [network.head], TrainConfig(optimiser="sgd", momentum=0.3))
    assert isinstance(sgd, torch.optim.SGD)
    assert {g["momentum"] for g in sgd.param_groups} == {0.3}
    adamw = build_optimiser(network, [network.head], TrainConfig(optimiser="adamw"))
    assert isinstance(adamw, torch.optim.AdamW)
    with pytest.raises(MethodError, match="unknown optimiser 'lion'"):
        build_optimiser(network, [], TrainConfig(optimiser="lion"))


def test_poly_values() -> None:
    factor = poly(TrainConfig(iterations=100, power=0.9))
    assert factor(0) == 1.0
    assert factor(50) == pytest.approx(0.5**0.9)
    assert factor(99) == pytest.approx(0.01**0.9)


def test_warm_up_rises_to_the_initial_rate() -> None:
    factor = poly(TrainConfig(iterations=100, warmup=4))
    assert [factor(i) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(4) == pytest.approx(0.96**0.9)


@given(st.integers(1, 5000), st.floats(0.1, 3.0))
def test_poly_falls_and_stays_positive(iterations: int, power: float) -> None:
    factor = poly(TrainConfig(iterations=iterations, power=power))
    values = [factor(i) for i in range(0, iterations, max(1, iterations // 20))]
    assert all(1.0 >= a > b > 0.0 for a, b in pairwise(values))


def test_cosine_values() -> None:
    factor = cosine(TrainConfig(iterations=100, warmup=4, floor=0.2))
    assert [factor(i) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert factor(50) == pytest.approx(0.6)
    assert factor(100) == pytest.approx(0.2)


def test_the_schedule_is_chosen_by_name() -> None:
    config = TrainConfig(iterations=10)
    assert schedule(config)(5) == poly(config)(5)
    assert schedule(replace(config, schedule="cosine"))(5) == pytest.approx(0.5)
    with pytest.raises(MethodError, match="unknown schedule 'step'; choose poly or cosine"):
        schedule(replace(config, schedule="step"))


class _Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.weight = nn.Parameter(torch.zeros(1, 2, 3)), nn.Parameter(torch.zeros(3, 3))

    def no_weight_decay(self) -> set[str]:
        return {"tokens"}


def test_named_parameters_do_not_decay() -> None:
    network = _Tokens()
    groups = parameter_groups(network, [], TrainConfig(weight_decay=0.1))
    assert {id(p): g["weight_decay"] for g in groups for p in g["params"]} == {
        id(network.tokens): 0.0,
        id(network.weight): 0.1,
    }
