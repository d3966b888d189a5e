"""ResNet-38d: the layout of the weight files in circulation, and the reference network's values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from methods.eps.losses import classification_loss, saliency_loss
from methods.eps.network import EpsNetwork
from methods.layers.backbones import build_backbone
from methods.layers.config import BackboneConfig
from methods.layers.resnet38d import ResNet38d
from methods.layers.weights import load_into, load_state
from tests.conftest import golden, golden_path


def _golden_keys() -> dict[str, list[int]]:
    return json.loads(golden_path("resnet38d_keys.json").read_text())


def _closed_form_state(seed: int) -> dict[str, torch.Tensor]:
    """The golden vector's weights: value_i = sin(.37 i + k + seed) of the k-th sorted key, scaled by kind."""
    state = {}
    for k, (key, shape) in enumerate(sorted(_golden_keys().items())):
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
            continue
        value = np.sin(0.37 * np.arange(np.prod(shape)) + k + seed).reshape(shape)
        if len(shape) == 4:
            value *= np.sqrt(2 / np.prod(shape[1:]))
        elif key.endswith("running_var"):
            value = 1 + 0.1 * np.abs(value)
        elif key.endswith(("running_mean", "bias")):
            value *= 0.1
        else:
            value = 1 + 0.1 * value
        state[key] = torch.tensor(value, dtype=torch.float32)
    return state


def test_state_dictionary_is_that_of_the_published_files() -> None:
    with torch.device("meta"):
        trunk = ResNet38d()
    ours = {key: list(value.shape) for key, value in trunk.state_dict().items()}
    assert ours == {k: s for k, s in _golden_keys().items() if not k.startswith("fc8")}


def test_golden_eps_network(tmp_path) -> None:  # type: ignore[no-untyped-def]
    expected = golden("resnet38d")
    state = _closed_form_state(int(expected["seed"]))
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "res38_cls.pth")
    network = EpsNetwork(build_backbone(BackboneConfig("resnet38d"), tmp_path / "res38_cls.pth"), classes=4)
    loaded = load_state(tmp_path / "res38_cls.pth")
    load_into(network.classifier, {"weight": loaded["fc8.weight"]}, source="golden")
    with torch.no_grad():
        cam = network.eval()(torch.from_numpy(expected["image"]))
    scale = float(np.abs(expected["cam"]).max())
    assert_close(cam, torch.from_numpy(expected["cam"]), rtol=1e-4, atol=1e-5 * scale)
    assert_close(cam.mean((2, 3)), torch.from_numpy(expected["pooled_logits"]), rtol=1e-4, atol=1e-5 * scale)


def test_full_size_eps_trains_on_the_cpu() -> None:
    """Forward and backward of the joint loss through all 105 M parameters, first layers and BN frozen."""
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig("resnet38d"), frozen_stages=2, freeze_bn=True)
    network = EpsNetwork(backbone, classes=20).train()
    logits = network(torch.randn(1, 3, 40, 40))
    assert logits.shape == (1, 21, 5, 5)
    labels = torch.zeros(1, 20).index_fill_(1, torch.tensor([3]), 1.0)
    loss = classification_loss(logits, labels) + saliency_loss(logits, torch.rand(1, 1, 40, 40), labels).loss
    loss.backward()
    trained = {
        name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    expected = {
        name
        for name, p in network.named_parameters()
        if p.ndim == 4 and not name.startswith(("backbone.trunk.conv1a", "backbone.trunk.b2"))
    }
    assert trained == expected


@pytest.mark.parametrize("size", [(96, 96), (65, 41)])
def test_miniature_has_the_structure_of_the_full_network(size: tuple[int, int]) -> None:
    trunk = ResNet38d(width_divisor=16, depths=(1, 2, 1, 1)).eval()
    with torch.no_grad():
        features = trunk(torch.rand(2, 3, *size))
    assert features.shape == (2, 256, -(-size[0] // 8), -(-size[1] // 8))
    assert (features >= 0).all()
    full = _golden_keys()
    assert set(trunk.state_dict()) < set(full)
    assert all(
        np.array_equal(value.shape[:2], [n if n == 3 else n // 16 for n in full[key][:2]])
        for key, value in trunk.state_dict().items()
    )
