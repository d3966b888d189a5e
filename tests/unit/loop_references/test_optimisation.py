"""Learning rates and steps of the optimisers, in loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from methods.eps.config import PRESETS
from methods.layers.config import TrainConfig
from methods.layers.optim import build_optimiser, parameter_groups, poly
from tests.unit.loop_references.shared import close


@pytest.mark.parametrize(
    ("iterations", "warmup", "power"), [(20, 0, 0.9), (20, 5, 0.9), (7, 2, 1.0), (50, 1, 2.0)]
)
def test_poly(iterations: int, warmup: int, power: float) -> None:
    """(1 - iteration / iterations) ** power; before that, a straight line from near 0 to the full rate."""
    factor = poly(TrainConfig(iterations=iterations, warmup=warmup, power=power))
    for iteration in range(warmup, iterations):
        left = 1.0
        left -= iteration / iterations
        close(factor(iteration), math.exp(power * math.log(left)))
    for iteration in range(warmup):
        close(factor(iteration), (iteration + 1) / warmup)


def test_learning_rates_of_eps() -> None:
    """Weights x1, biases x2, the classifier's weights x10 and its biases x20; biases do not decay."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    classifier = nn.Conv2d(5, 3, 1)
    network = nn.Sequential(trunk, classifier)
    trunk[0].weight.requires_grad_(False)
    config = TrainConfig(
        learning_rate=0.01, head_multiplier=10, bias_multiplier=2, weight_decay=5e-4, momentum=0.3
    )
    expected: dict[int, tuple[float, float]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = 0.01
        if name.endswith("bias"):
            rate *= 2
        if name.startswith("1."):
            rate *= 10
        expected[id(parameter)] = (rate, 0.0 if name.endswith("bias") else 5e-4)
    assert sorted({round(rate, 6) for rate, _ in expected.values()}) == [0.01, 0.02, 0.1, 0.2]
    optimiser = build_optimiser(network, [classifier], config)
    for groups in (parameter_groups(network, [classifier], config), optimiser.param_groups):
        found: dict[int, tuple[float, float]] = {}
        for group in groups:
            for parameter in group["params"]:
                assert id(parameter) not in found
                found[id(parameter)] = (group["lr"], group["weight_decay"])
        assert found.keys() == expected.keys()
        for key, pair in expected.items():
            close(found[key], pair)
    assert isinstance(optimiser, torch.optim.SGD)
    assert {group["momentum"] for group in optimiser.param_groups} == {0.3}


def test_sgd_steps() -> None:
    """Two updates of plain SGD with momentum and decay, number by number."""
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 1.0)
    config = TrainConfig(
        learning_rate=0.1, momentum=0.5, weight_decay=0.1, head_multiplier=10, bias_multiplier=2
    )
    optimiser = build_optimiser(layer, [], config)
    values, velocity = {"weight": 2.0, "bias": 1.0}, {"weight": 0.0, "bias": 0.0}
    for _ in range(2):
        optimiser.zero_grad()
        (3 * layer.weight + 5 * layer.bias).sum().backward()
        optimiser.step()
        for name, gradient, rate, decay in (("weight", 3.0, 0.1, 0.1), ("bias", 5.0, 0.2, 0.0)):
            velocity[name] = 0.5 * velocity[name] + gradient + decay * values[name]
            values[name] -= rate * velocity[name]
    close([layer.weight.item(), layer.bias.item()], [values["weight"], values["bias"]])


def test_paper_preset_of_eps() -> None:
    config = PRESETS["paper"]
    assert (config.overlap_threshold, config.foreground_weight, config.map_selection) == (
        0.4,
        0.5,
        "adaptive",
    )
    assert config.predefined_background == ("sofa", "chair", "diningtable")
    assert config.backbone.name == "resnet38d"
    assert config.backbone.freeze_bn
    assert config.backbone.frozen_stages >= 1
    train = config.train
    assert (train.optimiser, train.batch_size, train.learning_rate, train.iterations) == (
        "sgd",
        8,
        0.01,
        20_000,
    )
    assert (train.power, train.warmup, train.head_multiplier, train.bias_multiplier) == (0.9, 0, 10, 2)
    assert (train.recipe.crop, train.recipe.flip) == (448, 0.5)
    assert (config.inference.scales, config.inference.flip) == ((0.5, 1.0, 1.5, 2.0), True)
    assert (config.background_threshold, config.refiner.name) == (0.2, "none")


def test_paper_preset_decays_weights() -> None:
    assert PRESETS["paper"].train.weight_decay == 5e-4
