"""The four rules against slow loops over the papers' formulas, and what they have in common with CAM."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from methods.activation.config import RULES, ActivationStageConfig
from methods.activation.network import CamActivation
from methods.activation.rules import grad_cam, grad_cam_plus_plus, layer_cam, score_cam
from methods.base import MethodError
from methods.layers.cam import multi_scale_cam
from methods.layers.config import CamInferenceConfig
from methods.layers.presets import NANO_BACKBONE


def settings_of(rule: str, layer: str = "", **options: Any) -> ActivationStageConfig:
    values = {"channels": 0, "masked_batch": 7} | options
    return ActivationStageConfig(inference=CamInferenceConfig(), rule=rule, layer=layer, **values)


@pytest.fixture
def pair(seeded: None) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations and gradients (B, K, h, w), both of either sign."""
    return torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)


def test_grad_cam_by_loops(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Eq. 1: a channel's weight is the mean gradient. Eq. 2: the weighted sum, rectified."""
    activations, gradients = pair
    expected = torch.zeros(2, 4, 5)
    for n in range(2):
        for i in range(4):
            for j in range(5):
                total = 0.0
                for k in range(3):
                    weight = sum(float(gradients[n, k, a, b]) for a in range(4) for b in range(5)) / 20
                    total += weight * float(activations[n, k, i, j])
                expected[n, i, j] = max(0.0, total)
    assert_close(grad_cam(activations, gradients), 20 * expected)


def test_grad_cam_plus_plus_by_loops(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Eq. 19: of Y = exp(S), whose second and third derivatives are exp(S) g^2 and exp(S) g^3."""
    activations, gradients = pair
    factor = math.exp(0.7)  # exp(S): it scales a map
    expected = torch.zeros(2, 4, 5)
    for n in range(2):
        for k in range(3):
            weight = 0.0
            for i in range(4):
                for j in range(5):
                    g = float(gradients[n, k, i, j])
                    second, third = factor * g**2, factor * g**3
                    around = sum(float(activations[n, k, a, b]) * third for a in range(4) for b in range(5))
                    weight += second / (2 * second + around) * max(0.0, factor * g)
            expected[n] += weight * activations[n, k]
    assert_close(
        grad_cam_plus_plus(activations, gradients), expected.clamp_min(0) / factor, rtol=1e-4, atol=1e-5
    )


def test_layer_cam_by_loops(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """A cell's weight is its positive gradient; the weighted sum over channels is rectified."""
    activations, gradients = pair
    expected = torch.zeros(2, 4, 5)
    for n in range(2):
        for i in range(4):
            for j in range(5):
                total = sum(
                    max(0.0, float(gradients[n, k, i, j])) * float(activations[n, k, i, j]) for k in range(3)
                )
                expected[n, i, j] = max(0.0, total)
    assert_close(layer_cam(activations, gradients), 20 * expected)


def test_score_cam_by_loops(seeded: None) -> None:
    """Algorithm 1: mask, score less that of the baseline image, softmax over channels, weighted sum, rectified."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    images, activations = torch.randn(2, 3, 8, 10), torch.randn(2, 5, 4, 5)
    network(images)
    expected = torch.zeros(2, 3, 4, 5)
    for n in range(2):
        raised = torch.zeros(5, 3)
        for k in range(5):
            mask = F.interpolate(activations[n, k][None, None], (8, 10), mode="bilinear")[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            raised[k] = (network((images[n] * mask)[None]) - network(torch.zeros(1, 3, 8, 10)))[0].detach()
        for c in range(3):
            powers = [math.exp(float(raised[k, c])) for k in range(5)]
            for k in range(5):
                expected[n, c] += powers[k] / sum(powers) * activations[n, k]
    found = score_cam(images, activations, network, masked_batch=3)
    assert_close(found, expected.clamp_min(0))
    assert not found.requires_grad


def test_score_cam_of_some_channels_takes_those_that_vary_most(seeded: None) -> None:
    activations = torch.randn(1, 4, 3, 3) * torch.tensor([1.0, 0.01, 2.0, 0.1]).view(1, 4, 1, 1)
    images, scores = torch.rand(1, 3, 6, 6), lambda x: x.mean((2, 3))
    some = score_cam(images, activations, scores, channels=2)
    assert_close(some, score_cam(images, activations[:, [2, 0]], scores))


# ---------------------------------------------------------------- of cam's classifier


@pytest.fixture
def network(seeded: None) -> CamActivation:
    return CamActivation.build(NANO_BACKBONE, 3).eval()


def test_of_a_mean_and_a_linear_classifier_grad_cam_is_cam_at_several_scales_too(
    network: CamActivation,
) -> None:
    images = torch.rand(2, 3, 32, 48)
    with torch.inference_mode():  # as CAMs are made
        by_gradients = multi_scale_cam(
            lambda x: network.maps(x, settings_of("gradcam")), images, (1.0, 1.5), True
        )
        plain = multi_scale_cam(lambda x: network(x).relu(), images, (1.0, 1.5), True)
    assert plain.amax((2, 3)).min() > 0.01
    assert_close(by_gradients, plain, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_an_image_has_the_maps_that_it_has_alone(network: CamActivation, rule: str) -> None:
    images = torch.rand(3, 3, 32, 32)
    maps = network.maps(images, settings_of(rule))
    assert maps.shape[:2] == (3, 3)
    assert maps.min() >= 0
    assert maps.amax() > 0
    assert not maps.requires_grad
    alone = torch.cat([network.maps(image[None], settings_of(rule)) for image in images])
    assert_close(network.to_unit(maps), network.to_unit(alone), rtol=1e-3, atol=1e-4)
    assert_close(network.to_unit(maps * 1e-6), network.to_unit(maps))
    assert all(p.grad is None for p in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_maps_of_an_earlier_layer_are_finer(network: CamActivation) -> None:
    first, last = (
        network.maps(torch.rand(1, 3, 32, 32), settings_of("layercam", layer))
        for layer in ("backbone.trunk.conv1a", "backbone")
    )
    assert first.shape[-1] > last.shape[-1]
    assert first.any()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            "backbon",
            "there is none; did you mean 'backbone'? there are backbone, dropout, classifier, and parts",
        ),
        ("backbone.trunk", None),
    ],
)
def test_a_layer_by_name(network: CamActivation, layer: str, said: str | None) -> None:
    images = torch.rand(1, 3, 32, 32)
    if said is None:
        assert network.maps(images, settings_of("gradcam", layer)).any()
        return
    with pytest.raises(MethodError, match=said.replace("?", r"\?")):
        network.maps(images, settings_of("gradcam", layer))
