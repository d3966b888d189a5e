"""ResNet-38d: the layout of the weight files in circulation, and the reference network's values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from methods.eps.losses import classification_loss, saliency_loss
from methods.eps.network import EpsNetwork
from methods.layers.config import BackboneConfig
from methods.layers.networks.backbones import build_backbone
from methods.layers.networks.resnet38d import ResNet38d
from methods.layers.weights.files import load_into
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


def test_golden_eps_network() -> None:
    expected = golden("resnet38d")
    state = _closed_form_state(int(expected["seed"]))
    with torch.device("meta"):
        network = EpsNetwork(build_backbone(BackboneConfig("resnet38d")), classes=4)
    network.to_empty(device="cpu")
    load_into(network.backbone.trunk, state, allow_unexpected=["fc8.*"], source="golden")
    load_into(network.classifier, {"weight": state["fc8.weight"]}, source="golden")
    with torch.no_grad():
        cam = network.eval()(torch.from_numpy(expected["image"]))
    scale = float(np.abs(expected["cam"]).max())
    assert_close(cam, torch.from_numpy(expected["cam"]), rtol=1e-4, atol=1e-5 * scale)
    assert_close(cam.mean((2, 3)), torch.from_numpy(expected["pooled_logits"]), rtol=1e-4, atol=1e-5 * scale)


def test_a_published_classifier_file_loads(tmp_path: Path) -> None:
    """The layout of `res38_cls.pth`: DataParallel's prefix, a classifier `fc8`, no batch counters."""
    config = BackboneConfig("resnet38d_nano", output_stride=4)
    state = build_backbone(config).trunk.state_dict()
    file = {f"module.{k}": v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save({**file, "module.fc8.weight": torch.zeros(20, 96, 1, 1)}, tmp_path / "res38_cls.pth")
    loaded = build_backbone(config, tmp_path / "res38_cls.pth").trunk.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("name", "stride"), [("resnet38d_nano", 4), pytest.param("resnet38d", 8, marks=pytest.mark.slow)]
)
def test_eps_trains_all_but_its_frozen_layers(name: str, stride: int) -> None:
    """Forward and backward of the joint loss (at full size through 105 M parameters), first layers and BN frozen."""
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(name, output_stride=stride, frozen_stages=2, freeze_bn=True))
    network = EpsNetwork(backbone, classes=20).train()
    logits = network(torch.randn(1, 3, 40, 40))
    assert logits.shape == (1, 21, 40 // stride, 40 // stride)
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
    widths = (8, 12, 16, 20, 24, 32, 48)
    trunk = ResNet38d(widths=widths, depths=(1, 2, 1, 1), strides=(2, 2, 1, 1), dropout=(0.0, 0.0)).eval()
    with torch.no_grad():
        features = trunk(torch.rand(2, 3, *size))
    assert trunk.output_stride == 4
    assert features.shape == (2, 48, -(-size[0] // 4), -(-size[1] // 4))
    assert (features >= 0).all()
    full = _golden_keys()
    assert set(trunk.state_dict()) < set(full)
    assert all(list(v.shape[2:]) == full[k][2:] for k, v in trunk.state_dict().items())
